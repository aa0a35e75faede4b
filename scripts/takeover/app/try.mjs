// Tries the snippet against a running system, whose base URL is the argument.
import assert from "node:assert/strict";
import { call, place, usesV2 } from "./build/api.js";

const base = process.argv[2];
const sides = { v1: base, v2: base + "/v2" };
const away = { v1: base, v2: "http://127.0.0.1:1/v2" };

const created = await call(sides, true, "POST", "/user/create", {});
assert.equal(created.status, 200);
const { id, password } = await created.json();
const event = { userId: id, password, eventId: crypto.randomUUID(), encryptedEventPayload: "QQ==", encryptedEventIV: "QQ==", expiry: "2099-01-01" };
assert.equal((await call(sides, true, "PUT", "/event", event)).status, 200);
assert.equal((await call(sides, false, "GET", `/user/${id}`)).status, 200);

// v2 is away: what may be repeated goes to v1, and nothing else.
assert.equal((await call(away, true, "GET", `/user/${id}`)).status, 200);
assert.equal((await call(away, true, "PUT", "/event", event)).status, 200);
for (const [method, path] of [["POST", "/user/create"], ["PUT", "/inbox"], ["POST", "/inbox"], ["POST", "/shareditem"], ["PUT", "/follow-secret"], ["POST", "/user/delete"]]) {
  await assert.rejects(call(away, true, method, path, {}), TypeError);
}
// An answer is an answer.
assert.equal((await call(sides, true, "GET", `/user/${crypto.randomUUID()}`)).status, 404);
assert.equal((await call(sides, true, "PUT", "/user", { id, password: crypto.randomUUID(), encryptionIV: "", rsaPublicKey: "" })).status, 401);

// A phone that is on v2 stays there, and each step moves about as many as it says.
const phones = Array.from({ length: 5000 }, () => crypto.randomUUID());
let before = new Set();
for (const percent of [0, 10, 25, 50, 75, 100]) {
  const now = new Set(phones.filter((phone) => usesV2(phone, percent)));
  assert.ok([...before].every((phone) => now.has(phone)));
  assert.ok(Math.abs(now.size / phones.length - percent / 100) < 0.05, `${percent}: ${now.size}`);
  before = now;
}
assert.equal(place("the same"), place("the same"));
console.log("the snippet works");
