"""The writes of RedisStore as Lua, each on one key: whether a record is alive is decided where it is written (L13).

Instants come and go as 8 bytes, so that none loses a bit. No script asks the server for the wall clock's verdict: what
is alive follows from the record and the arguments. Only the entries of a handle, which are no verdict, use its TIME.
"""

from __future__ import annotations

from hashlib import sha1
from typing import Final

__all__ = [
    "ADD_ENTRY",
    "ADD_ONCE",
    "END",
    "ENTRIES",
    "MOVE_EPOCH",
    "RELEASE",
    "RENEW",
    "RESERVE",
    "SAVE",
    "Script",
    "TOUCH",
]


class Script:
    """A script and the name the server knows it by.

    Attributes:
        text: the script.
        digest: its SHA-1, as EVALSHA wants it.
    """

    __slots__ = ("digest", "text")

    def __init__(self, text: str) -> None:
        self.text = text.encode()
        self.digest = sha1(self.text, usedforsecurity=False).hexdigest()


#: How long a key stays beyond what the record asks for, in milliseconds: clocks of machines differ, and a key that goes
#: late does no harm.
_MARGIN: Final = "3600000"

# Under a full memory Redis lets a script write once it has written something that takes none, so TOUCH, END
# and MOVE_EPOCH begin with PEXPIRE: people can still sign out, and all be signed out.

#: Reads the record; leaves the script where there is none, or it is not alive (ARGV[1] is the epoch of `end_before`).
#: The layout is in value.py.
_ALIVE: Final = """
local LAYOUT = '>BBBHI4I4I4I4ddddddd'
local function instant(text) return (struct.unpack('>d', text)) end
local function lifetime(seconds)
    return string.format('%.0f', math.min(math.max(seconds, 0), 1e11) * 1000 + MARGIN)
end
local held = redis.call('GET', KEYS[1])
if not held then return false end
if #held < 77 or string.byte(held) ~= 1 then return redis.error_reply('UNREADABLE') end
local version, flags, reason, handles, core, rest, generation, revision, authenticated, seen, deadline, keep, renewed,
    mark, entries = struct.unpack(LAYOUT, held)
if #held ~= 77 + reason + handles + core + rest then return redis.error_reply('UNREADABLE') end
if not (seen - seen + keep - keep + deadline - deadline + mark - mark == 0) then
    return redis.error_reply('UNREADABLE') -- not a number, or infinite
end
if flags >= 4 or authenticated < instant(ARGV[1]) then return false end
local limited, presented = flags % 2 == 1, flags >= 2
local function pulse()
    flags = (limited and 1 or 0) + (presented and 2 or 0)
    return struct.pack(LAYOUT, version, flags, reason, handles, core, rest, generation, revision, authenticated, seen,
        deadline, keep, renewed, mark, entries)
end
""".replace("MARGIN", _MARGIN)

#: ARGV: epoch, last_seen_at, inactivity_deadline or nothing, keep_until, exact, presented_generation or nothing,
#: presented_at or nothing. What it does is `Touch.applied`. How long the key stays counts from the earliest time at which
#: this may be: what was seen, now or before, may have been seen by a clock that is ahead (L1).
TOUCH: Final = Script(
    _ALIVE
    + """
seen = math.max(seen, instant(ARGV[2]))
if ARGV[5] == '1' then
    keep = instant(ARGV[4])
    if ARGV[3] ~= '' then deadline, limited = instant(ARGV[3]), true end
else
    keep = math.max(keep, instant(ARGV[4]))
    if ARGV[3] ~= '' and limited then deadline = math.max(deadline, instant(ARGV[3])) end
end
if not presented and ARGV[6] == tostring(generation) and ARGV[7] ~= '' then mark, presented = instant(ARGV[7]), true end
local head = pulse()
redis.call('PEXPIRE', KEYS[1], lifetime(keep - math.min(renewed, instant(ARGV[2]))))
redis.call('SETRANGE', KEYS[1], 0, head)
return head .. string.sub(held, 78)
"""
)

#: ARGV: epoch, generation, the next one, renewed_at.
RENEW: Final = Script(
    _ALIVE
    + """
if ARGV[2] ~= string.format('%.0f', generation) then return false end
generation, renewed, mark, presented = tonumber(ARGV[3]), instant(ARGV[4]), 0, false
local head = pulse()
redis.call('SETRANGE', KEYS[1], 0, head)
return head .. string.sub(held, 78)
"""
)

#: ARGV: epoch, revision, authenticated_at, core, rest. Answers what stands before the body.
SAVE: Final = Script(
    _ALIVE
    + """
if ARGV[2] ~= string.format('%.0f', revision) then return false end
revision, authenticated, core, rest = revision + 1, instant(ARGV[3]), #ARGV[4], #ARGV[5]
local head = pulse() .. string.sub(held, 78, 77 + handles)
redis.call('SET', KEYS[1], head .. ARGV[4] .. ARGV[5], 'KEEPTTL')
return head
"""
)

#: ARGV: epoch, ended_at, keep_until, reason, whether to answer the whole record or only what stands before the body.
END: Final = Script(
    _ALIVE
    + """
local at = instant(ARGV[2])
local short = string.sub(held, 78, 77 + handles + core)
flags = (limited and 1 or 0) + 4
local head = struct.pack(LAYOUT, version, flags, #ARGV[4], handles, core, 0, generation, revision, authenticated, seen,
    deadline, instant(ARGV[3]), renewed, at, entries)
redis.call('PEXPIRE', KEYS[1], lifetime(instant(ARGV[3]) - at))
redis.call('SET', KEYS[1], head .. ARGV[4] .. short, 'KEEPTTL')
if ARGV[5] == '1' then return held end
return string.sub(held, 1, 77 + handles)
"""
)

#: The epoch's key; ARGV: instant and at, 16 bytes. Answers what then stands.
MOVE_EPOCH: Final = Script("""
local held = redis.call('GET', KEYS[1])
if held and #held == 16 and struct.unpack('>d', held) >= struct.unpack('>d', ARGV[1]) then return held end
redis.call('PEXPIRE', KEYS[1], 1000) -- the SET takes it back
redis.call('SET', KEYS[1], ARGV[1])
return ARGV[1]
""")

#: ARGV: until, now.
ADD_ONCE: Final = Script(
    """
local held = redis.call('GET', KEYS[1])
local till, now = struct.unpack('>d', ARGV[1]), (struct.unpack('>d', ARGV[2]))
if held and now < struct.unpack('>d', held) then return 0 end
local lifetime = math.min(math.max(till - now, 0), 1e11) * 1000 + MARGIN
redis.call('SET', KEYS[1], ARGV[1], 'PX', string.format('%.0f', lifetime))
return 1
""".replace("MARGIN", _MARGIN)
)

# --- a handle's entries: a sorted set of record keys -------------------------------------------------------------------
#
# The score is a second of the server's clock: s, the record is there and gone by then; -s, `create_capped` has reserved
# a place and will have written the record by then; FAR + s, `create_capped` of another session has chosen this one to
# make room, and will have ended it by then. What has run out was left by a crash: the first two are taken away, the
# third counts as alive again.

_ENTRIES: Final = """
local FAR = 1e10
local now = tonumber(redis.call('TIME')[1])
local function second(seconds) return string.format('%.0f', now + seconds) end
local function sweep()
    redis.call('ZREMRANGEBYSCORE', KEYS[1], '-' .. now, now)
end
local function stay(seconds)
    local wanted = seconds * 1000
    if redis.call('PTTL', KEYS[1]) < wanted then
        redis.call('PEXPIRE', KEYS[1], string.format('%.0f', wanted))
    end
end
"""

#: ARGV: record key, seconds to stay, and 1 where the entry must be one that was reserved. Answers 0 where it is not any
#: more.
ADD_ENTRY: Final = Script(
    _ENTRIES
    + """
if ARGV[3] == '1' then
    local score = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or FAR)
    if score >= FAR then return 0 end
end
sweep()
local seconds = math.min(tonumber(ARGV[2]), 1e9)
redis.call('ZADD', KEYS[1], second(seconds), ARGV[1])
stay(seconds)
return 1
"""
)

#: Answers record keys and scores in turn.
ENTRIES: Final = Script(
    _ENTRIES
    + """
sweep()
return redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
"""
)

#: Undoes RESERVE. ARGV: the record key, then what RESERVE answered.
RELEASE: Final = Script("""
redis.call('ZREM', KEYS[1], ARGV[1])
for i = 2, #ARGV, 2 do
    if redis.call('ZSCORE', KEYS[1], ARGV[i]) then redis.call('ZADD', KEYS[1], ARGV[i + 1], ARGV[i]) end
end
""")

#: ARGV: record key, most, evict, seconds of a reservation, how many are gone, how many are over, then those that are
#: gone, those that are over, and the living from the oldest on. Answers 0 where there is no room, -1 where the key is
#: held, else those chosen to make room and their scores before, in turn.
RESERVE: Final = Script(
    _ENTRIES
    + """
local me, lease, gone, over = ARGV[1], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
if redis.call('ZSCORE', KEYS[1], me) then return -1 end
for i = 7, 6 + gone do redis.call('ZREM', KEYS[1], ARGV[i]) end
sweep()
local left_out, score, order = {}, {}, {}
for i = 7 + gone, 6 + gone + over do left_out[ARGV[i]] = true end
for i = 7 + gone + over, #ARGV do order[#order + 1] = ARGV[i] end
local excess = 1 - tonumber(ARGV[2])
local all = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for i = 1, #all, 2 do
    local chosen = tonumber(all[i + 1]) > FAR + now
    if not chosen and not left_out[all[i]] then
        score[all[i]] = all[i + 1]
        excess = excess + 1
        order[#order + 1] = all[i]
    end
end
if excess > 0 and ARGV[3] ~= '1' then return 0 end
local room = {}
for _, member in ipairs(order) do
    if excess > 0 and score[member] then
        room[#room + 1] = member
        room[#room + 1] = score[member]
        score[member] = nil
        excess = excess - 1
        redis.call('ZADD', KEYS[1], string.format('%.0f', FAR + now + lease), member)
    end
end
redis.call('ZADD', KEYS[1], '-' .. second(lease), me)
stay(lease)
return room
"""
)
