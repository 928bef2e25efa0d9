// The client that openapi-typescript and openapi-fetch make of the document, against a real kvd.

import assert from "node:assert/strict";
import test from "node:test";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

type Problem = components["schemas"]["Problem"];

const json = { "Content-Type": "application/json" };
const client = createClient<paths>({ baseUrl: variable("KVD_URL") });
const limited = createClient<paths>({ baseUrl: variable("KVD_LIMITED_URL") });
// The kvd of these two asks for tokens. That of the reader may read below `app/`, where there is the item `app/k`.
const stranger = createClient<paths>({ baseUrl: variable("KVD_GUARDED_URL") });
const reader = createClient<paths>({
  baseUrl: variable("KVD_GUARDED_URL"),
  headers: { Authorization: `Bearer ${variable("KVD_READER_TOKEN")}` },
});

function variable(name: string): string {
  const value = process.env[name];
  assert.ok(value, `${name} is not set`);
  return value;
}

function assertProblem(error: Problem | undefined, status: number, code: Problem["code"]): void {
  assert.ok(error, "a problem document");
  assert.equal(error.status, status);
  assert.equal(error.code, code);
  assert.notEqual(error.title, "");
  assert.notEqual(error.detail, "");
}

async function create(key: string, value: string): Promise<components["schemas"]["Item"]> {
  const { data, error, response } = await client.POST("/items/", { body: { key, value } });
  assert.equal(error, undefined);
  assert.equal(response.status, 201);
  return data;
}

test("an item is created, read, updated under its tag, and deleted", async () => {
  for (const key of ["ts", "ts/a%2Fb é", "ts ?&=#"]) {
    const path = { key };
    const created = await create(key, "one");
    assert.equal(created.version, 1);
    const read = await client.GET("/items/{key}", { params: { path } });
    assert.equal(read.data?.value, "one");
    assert.equal(read.response.headers.get("ETag"), `"${created.etag}"`);
    const updated = await client.PUT("/items/{key}", {
      params: { path, header: { "If-Match": `"${created.etag}"` } },
      body: { value: "two" },
    });
    assert.equal(updated.data?.version, 2);
    const deleted = await client.DELETE("/items/{key}", { params: { path } });
    assert.equal(deleted.response.status, 204);
    assert.equal(deleted.error, undefined);
  }
});

test("a walk by cursor sees every item once", async () => {
  const keys = Array.from({ length: 25 }, (_, n) => `walk-ts-${String(n).padStart(2, "0")}`);
  for (const key of keys) await create(key, "");
  const seen: string[] = [];
  let cursor: string | null = "";
  while (cursor !== null) {
    const query: { prefix: string; cursor: string } = { prefix: "walk-ts-", cursor };
    const { data, error } = await client.GET("/items/", { params: { query } });
    assert.ok(data, JSON.stringify(error));
    seen.push(...data.items.map((item) => item.key));
    cursor = data.next_cursor;
  }
  assert.deepEqual(seen, keys);
});

test("a batch has a result of each operation", async () => {
  const put = { op: "put", key: "batch-ts", value: "v", upsert: true, ttl: 3600 } as const;
  const get = { op: "get", key: "no such key" } as const;
  const { data, error } = await client.POST("/batch", { body: { operations: [put, get] } });
  assert.ok(data, JSON.stringify(error));
  assert.deepEqual(data.results.map((result) => result.status), [201, 404]);
  assert.ok(Date.parse(data.results[0]?.item?.expires_at ?? "") > Date.now());
  assert.equal(data.results[1]?.code, "item-not-found");

  const atomic = { atomic: true, operations: [put, get] };
  const failed = await client.POST("/batch", { body: atomic });
  assertProblem(failed.error, 409, "batch-failed");
  assert.deepEqual(failed.error?.results?.map((result) => result.code), ["not-done", "item-not-found"]);
  const mistaken = await client.POST("/batch", { body: { operations: [get, get] } });
  assertProblem(mistaken.error, 400, "invalid-request");
  assert.equal(mistaken.error?.index, 1);
});

test("every error is a problem document, and its code is one of those there are", async () => {
  const item = await create("errors", "one");
  const path = { key: "errors" };
  const conflict = await client.POST("/items/", { body: { key: "errors", value: "" } });
  assertProblem(conflict.error, 409, "key-exists");
  const missing = await client.GET("/items/{key}", { params: { path: { key: "no such key" } } });
  assertProblem(missing.error, 404, "item-not-found");
  const header = { "If-Match": '"0-0"' };
  const failed = await client.PUT("/items/{key}", { params: { path, header }, body: { value: "" } });
  assertProblem(failed.error, 412, "precondition-failed");
  assert.equal(failed.response.headers.get("ETag"), `"${item.etag}"`);
  const invalid = await client.GET("/items/", { params: { query: { page_size: 101 } } });
  assertProblem(invalid.error, 400, "invalid-request");
  const large = await client.POST("/items/", { body: { key: "large", value: "x".repeat(262_145) } });
  assertProblem(large.error, 413, "value-too-large");
  const text = { headers: { ...json, "Content-Type": "text/plain" } };
  const media = await client.POST("/items/", { body: { key: "a", value: "b" }, ...text });
  assertProblem(media.error, 415, "unsupported-media-type");
  // @ts-expect-error: no problem has this code, and the compiler knows.
  assert.notEqual(missing.error?.code === "no-such-code", true);
});

test("a refusal of the limiter says when to come back", async () => {
  for (let n = 0; n < 3; n += 1) await limited.GET("/items/", {});
  const { error, response } = await limited.GET("/items/", {});
  assertProblem(error, 429, "rate-limited");
  assert.deepEqual(error?.["violated-policies"], ["default"]);
  assert.equal(response.headers.get("Retry-After"), String(error?.retry_after));
});

test("a token is sent and says what it may do", async () => {
  const read = await reader.GET("/items/{key}", { params: { path: { key: "app/k" } } });
  assert.equal(read.data?.value, "v");
  const { data, error } = await reader.GET("/whoami");
  assert.ok(data, JSON.stringify(error));
  assert.equal(data.name, "reader");
  assert.deepEqual(data.rules, [{ prefix: "app/", access: "read" }]);
  assert.ok(Date.parse(data.expires_at ?? "") > Date.now());
  // @ts-expect-error: no rule has this access, and the compiler knows.
  assert.notEqual(data.rules[0]?.access === "no-such-access", true);
});

test("what no token and another token may not do is a problem document", async () => {
  const params = { path: { key: "app/k" } };
  const unread = await stranger.GET("/items/{key}", { params });
  assertProblem(unread.error, 401, "unauthenticated");
  assert.equal(unread.response.headers.get("WWW-Authenticate"), "Bearer");
  const unknown = await stranger.GET("/whoami");
  assertProblem(unknown.error, 401, "unauthenticated");
  const written = await reader.PUT("/items/{key}", { params, body: { value: "w" } });
  assertProblem(written.error, 403, "forbidden");
  const outside = await reader.GET("/items/{key}", { params: { path: { key: "other" } } });
  assertProblem(outside.error, 403, "forbidden");
  const walked = await reader.GET("/items/", { params: { query: { prefix: "" } } });
  assertProblem(walked.error, 403, "forbidden");
});
