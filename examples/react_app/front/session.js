// The session as React hooks, over the programmatic API of the browser script.
import { useSyncExternalStore } from "react";
import { session } from "/session/client.js";

const onChange = (told) => {
  session.addEventListener("change", told);
  return () => session.removeEventListener("change", told);
};

const eachSecond = (told) => {
  const stop = onChange(told);
  const timer = setInterval(told, 1000);
  return () => {
    stop();
    clearInterval(timer);
  };
};

/** What is known of the session: "unknown", "active", "warning", "lapsed", "signed_out" or "changed". */
export const useSession = () => useSyncExternalStore(onChange, () => session.state);

/** Whole seconds until the session ends, null without one; the component is drawn anew each second. */
export const useRemaining = () =>
  useSyncExternalStore(eachSecond, () => {
    const left = session.remaining();
    return left === null ? null : Math.ceil(left);
  });

export { session };
