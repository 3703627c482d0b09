// A page's own dialog, typed; compiled by test_module.py, never run.
import standard, { session, type Reason, type Session, type State } from "../../session_middleware/client/client.js";

const same: boolean = standard === session;
const left: number | null = session.remaining();
const state: State = session.state;
const reason: Reason = session.reason;
session.onchange = (changed: Session) => console.log(changed.state, left, reason, same);
session.addEventListener("change", (event) => console.log(event.type));

export async function goOn(): Promise<string | undefined> {
  if (state === "warning" && !(await session.continue())) return session.continueUrl ?? session.signInUrl;
  const answer: Response = await session.fetch("/api", { method: "POST" });
  if (answer.status === 403) await session.refused(await answer.json());
  if (!answer.ok) await session.logout();
  // @ts-expect-error: there is no such state
  return (await session.check()) === "expired" ? session.failure : undefined;
}
