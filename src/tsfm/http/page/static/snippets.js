// The last request as curl, Python and SQL.
import { say } from "./texts.js";

const MOST_SHOWN = 60; // values in the text; beyond them the request is a file

/** Whether the request is better kept in a file than shown. */
export function isLong(fields) {
  return fields.inputs[0].target.length > MOST_SHOWN;
}

export function curl({ base, task, fields, token }) {
  const lines = [`curl -s ${base}/v1/${task}`, "  -H 'Content-Type: application/json'"];
  if (token) lines.push('  -H "Authorization: Bearer $TOKEN"');
  lines.push(isLong(fields) ? "  -d @request.json" : `  -d '${JSON.stringify(fields).replaceAll("'", "'\\''")}'`);
  return lines.join(" \\\n");
}

export function python({ base, task, fields, token }) {
  const head = ["import json", ...(token ? ["import os"] : []), "import urllib.request", ""];
  const body = isLong(fields)
    ? ['with open("request.json", "rb") as file:', "    body = file.read()"]
    : [`body = json.dumps(${literal(fields)}).encode()`];
  const headers = ['"Content-Type": "application/json"'];
  if (token) headers.push('"Authorization": f"Bearer {os.environ[\'TOKEN\']}"');
  return [
    ...head,
    ...body,
    `headers = {${headers.join(", ")}}`,
    `request = urllib.request.Request("${base}/v1/${task}", body, headers)`,
    "with urllib.request.urlopen(request) as answer:",
    "    for prediction in json.load(answer)[\"predictions\"]:",
    "        print(json.dumps(prediction, indent=1))",
  ].join("\n");
}

/** A value of JSON as a Python literal. */
function literal(value) {
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  return `{${Object.entries(value).map(([name, one]) => `${JSON.stringify(name)}: ${literal(one)}`).join(", ")}}`;
}

export function sql({ task, key, family, column, horizon, interval, level, freq }) {
  const value = /^[a-z_]\w*$/i.test(column) ? column : `\`${column.replaceAll("`", "")}\``;
  const question = {
    forecast: `SELECT _frowts, _flow, _fhigh, FORECAST(${value}, 'algo=${key},rows=${horizon},conf=${interval}')\nFROM db.meter;`,
    imputation: `SELECT _improwts, IMPUTATION(${value}, 'algo=${key},freq=${freq}')\nFROM db.meter;`,
    anomaly_detection: `SELECT _wstart, _wend, COUNT(*)\nFROM db.meter\nANOMALY_WINDOW(${value}, 'algo=tsfm_${family},level=${level}');`,
  }[task];
  return `${say("sql_words")}\n${question}`;
}
