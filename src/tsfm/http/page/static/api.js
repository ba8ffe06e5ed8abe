// Requests to the service that sent this page, and through it to the other models of its host.

export class Failure extends Error {
  /** An answer other than 2xx: its status (0: no answer at all) and the service's sentence. */
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

let token = ""; // in memory only
let asking = null; // the question for a token that is open, if one is
let askForToken = async () => null; // gets true after a refused token; gives null when the person cancels

export function onToken(ask) {
  askForToken = ask;
}

export function hasToken() {
  return token !== "";
}

async function send(path, options) {
  const headers = { ...options.headers, ...(token && { Authorization: `Bearer ${token}` }) };
  try {
    return await fetch(path, { ...options, headers, redirect: "error", credentials: "omit" });
  } catch {
    throw new Failure(0, "");
  }
}

/** An answer of the service. If it asks for a token, so does the page; not in the background (``quiet``). */
async function ask(path, options = {}, quiet = false) {
  for (;;) {
    const used = token;
    const response = await send(path, options);
    if (response.ok) return response;
    const other = response.status !== 401 || (token === used && (quiet || !(await renewed())));
    if (other) throw new Failure(response.status, await sentence(response));
  }
}

/** Ask for a token, once for all requests that wait for it; false if there is none. */
function renewed() {
  asking ??= askForToken(token !== "").then((given) => {
    asking = null;
    token = given ?? token;
    return given !== null;
  });
  return asking;
}

async function sentence(response) {
  try {
    return String((await response.json()).error ?? "");
  } catch {
    return "";
  }
}

/** The entries of /v1/models: this service's own, then those of its neighbours, each with ``resident_mib``. */
export async function models() {
  const listed = (await (await ask("/v1/models")).json()).models;
  const { resident_mib } = await busy();
  const own = listed.map((model) => ({ ...model, own: true, resident_mib }));
  const others = (await (await ask("/v1/neighbours")).json()).models;
  return [...own, ...others.map((model) => ({ ...model, own: false }))];
}

/** The entry of this service alone, in the background. */
export async function ownModel() {
  return (await (await ask("/v1/models", {}, true)).json()).models[0];
}

/** One task of one model: forecast, cross_validation, imputation or anomaly_detection. */
export async function infer(model, task, fields) {
  const path = model.own ? `/v1/${task}` : `/v1/neighbours?${new URLSearchParams({ family: model.family, task })}`;
  const headers = { "Content-Type": "application/json" };
  return (await ask(path, { method: "POST", headers, body: JSON.stringify(fields) })).json();
}

export async function readTable(content, parameters) {
  const headers = { "Content-Type": "text/csv" };
  return (await ask(`/v1/table?${new URLSearchParams(parameters)}`, { method: "POST", headers, body: content })).json();
}

export async function sample(name) {
  return (await ask(`/page/${name}`)).blob();
}

/** The numbers of /metrics that tell how busy the service is. */
export async function busy() {
  const lines = (await (await ask("/metrics", {}, true)).text()).split("\n");
  const samples = lines.map((line) => /^(tsfm_\w+)(?:\{(.*?)\})? (\S+)$/.exec(line)).filter(Boolean);
  const all = (name) => samples.filter((found) => found[1] === name);
  const answers = all("tsfm_requests_total").map(([, , labels, value]) => [/status="(\d+)"/.exec(labels)[1], +value]);
  const sum = (rows) => rows.reduce((total, [, count]) => total + count, 0);
  return {
    resident_mib: all("tsfm_process_resident_memory_bytes").map(([, , , bytes]) => Math.floor(bytes / 2 ** 20))[0],
    waiting: +(all("tsfm_queue_length")[0]?.[3] ?? 0),
    good: sum(answers.filter(([status]) => status === "200")),
    bad: sum(answers.filter(([status]) => status !== "200")),
    buckets: all("tsfm_request_seconds_bucket").map(([, , labels, value]) => [
      Number(/le="(.*?)"/.exec(labels)[1].replace("+Inf", "Infinity")),
      +value,
    ]),
  };
}

/** The upper bound, in seconds, below which a share of the answers was given. */
export function quantile(buckets, share) {
  const total = buckets.at(-1)?.[1] ?? 0;
  return total ? buckets.find(([, count]) => count >= share * total)[0] : null;
}
