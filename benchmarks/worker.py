"""One contender in a process of its own: answers each line "requests" on stdin with their median in microseconds.

    python -m benchmarks.worker GROUP NAME [count]

With `count` it makes 1,000 requests, prints store calls, writes and Set-Cookie headers for each, and ends.
"""

from __future__ import annotations

import gc
import json
import statistics
import sys

from benchmarks.contenders import make

WARM_UP = 300
COUNTED = 1_000


def main() -> None:
    group, name, *how = sys.argv[1:]
    contender = make(group, name, counting=bool(how))
    contender.sign_in()
    client, path = contender.client, contender.path
    client.burst(path, WARM_UP)
    if how:
        calls, writes = contender.traffic()
        cookies = client.jar.set_cookies
        client.burst(path, COUNTED)
        after = contender.traffic()
        counts = (after[0] - calls, after[1] - writes, client.jar.set_cookies - cookies)
        print(json.dumps([count / COUNTED for count in counts]), flush=True)
        return
    gc.collect()
    gc.freeze()  # what stands is not to be looked through while others are measured
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(statistics.median(client.burst(path, int(line))) * 1e6), flush=True)
    client.close()


if __name__ == "__main__":
    main()
