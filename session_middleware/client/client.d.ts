/** What a page knows of its session; "unknown" until the server has been asked. */
export type State = "unknown" | "active" | "warning" | "lapsed" | "signed_out" | "changed";

/** Why nobody is signed in, as the server says; null where somebody is, or nobody ever was. */
export type Reason = "inactivity" | "lifetime" | "signed_out" | null;

export interface Session extends EventTarget {
  /** "warning": less than `warn_before` seconds are left; "changed": another user has signed in in this browser. */
  readonly state: State;
  readonly reason: Reason;
  /** What went wrong last, to be shown; "" if nothing did. */
  readonly failure: string;
  /** Where to sign in, with this page as the place to return to. */
  readonly signInUrl: string;
  /** Where the session can be continued if only the provider's own page can do that; null otherwise. */
  readonly continueUrl: string | null;
  /** Called when the state or the time left has changed, as a "change" event is sent. */
  onchange: ((session: Session) => void) | null;
  /** Seconds until the session ends unless something is done; null without a session. */
  remaining(): number | null;
  /** Asks the server how things are; keeps nothing alive. */
  check(): Promise<State>;
  /** Lets silence begin anew (POST continue); true if the session goes on. Several tabs send one request. */
  continue(): Promise<boolean>;
  /** Ends the session and goes to the page for those who have signed out. */
  logout(): Promise<void>;
  /** Shows in the dialog that a request was refused; takes the body of any answer 401, as an object, and knows ours. */
  refused(problem: unknown): Promise<void>;
  /** As the global fetch; an answer 401 of ours is also shown in the dialog. Nothing is sent twice. */
  fetch(input: RequestInfo | URL, init?: RequestInit): Promise<Response>;
  addEventListener(type: "change", listener: (event: Event) => void, options?: boolean | AddEventListenerOptions): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
}

/** The page's session: one, however often and under whatever address the module is loaded. */
export const session: Session;
export default session;
