// The demo's story by a client that is generated from the API's description: two people, a follow request, an event, a shared item,
// a plan, and the end of their accounts. API_URL is the service, WEB_KEY proves the purchase.
import assert from "node:assert/strict";
import * as crypto from "node:crypto";
import createClient from "openapi-fetch";
import type { components, paths } from "./generated/api.js";

const api = createClient<paths>({ baseUrl: process.env["API_URL"]! });

/** The answer's body. Anything but 200 ends the story. */
function good<T>(answer: { data?: T; error?: components["schemas"]["Problem"]; response: Response }): T {
  assert.equal(answer.response.status, 200, answer.error?.detail ?? answer.response.url);
  return answer.data!;
}

// The app's cryptography: AES-128 in CBC mode, and RSA-2048 with OAEP and PSS, both over SHA-256.
const base64 = (data: Buffer) => data.toString("base64");
const bytes = (text: string) => Buffer.from(text, "base64");
const pss = (key: crypto.KeyObject) => ({ key, padding: crypto.constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 });
const oaep = (key: crypto.KeyObject) => ({ key, padding: crypto.constants.RSA_PKCS1_OAEP_PADDING, oaepHash: "sha256" });
const publicKey = (spki: string) => crypto.createPublicKey({ key: bytes(spki), format: "der", type: "spki" });
const signatureSize = 256;

function encrypt(key: Buffer, iv: Buffer, plain: Buffer): string {
  const cipher = crypto.createCipheriv("aes-128-cbc", key, iv);
  return base64(Buffer.concat([cipher.update(plain), cipher.final()]));
}

/** A text with its writer's signature, encrypted. */
function seal(key: Buffer, iv: Buffer, writer: crypto.KeyObject, text: string): string {
  const plain = Buffer.from(text);
  return encrypt(key, iv, Buffer.concat([crypto.sign("sha256", plain, pss(writer)), plain]));
}

function open(key: Buffer, iv: string, writer: crypto.KeyObject, sealed: string): string {
  const cipher = crypto.createDecipheriv("aes-128-cbc", key, bytes(iv));
  const signed = Buffer.concat([cipher.update(bytes(sealed)), cipher.final()]);
  const plain = signed.subarray(signatureSize);
  assert(crypto.verify("sha256", plain, pss(writer), signed.subarray(0, signatureSize)), "the signature is not the writer's");
  return plain.toString();
}

/** What people send each other. */
type Message = { kind: "request" | "acceptance"; fromId: string; secret?: string; key?: string };

/** Somebody with an account and the keys to it. */
class Person {
  readonly key = crypto.randomBytes(16);
  private constructor(
    readonly account: components["schemas"]["UserCreateResponse"],
    readonly rsa: crypto.KeyPairKeyObjectResult,
  ) {}

  static async create(name: string): Promise<Person> {
    const rsa = crypto.generateKeyPairSync("rsa", { modulusLength: 2048 });
    const person = new Person(good(await api.POST("/v2/user/create", { body: {} })), rsa);
    const iv = crypto.randomBytes(16);
    good(
      await api.PUT("/v2/user", {
        body: {
          id: person.account.id,
          password: person.account.password,
          encryptedName: encrypt(person.key, iv, Buffer.from(name)),
          encryptionIV: base64(iv),
          rsaPublicKey: base64(rsa.publicKey.export({ format: "der", type: "spki" })),
        },
      }),
    );
    return person;
  }

  get login() {
    return { userId: this.account.id, password: this.account.password };
  }

  async send(to: string, key: crypto.KeyObject, message: Message) {
    const plain = Buffer.from(JSON.stringify(message));
    const chunks: string[] = [];
    for (let at = 0; at < plain.length; at += 190) {
      chunks.push(base64(crypto.publicEncrypt(oaep(key), plain.subarray(at, at + 190))));
    }
    good(await api.PUT("/v2/inbox", { body: { toUserId: to, encryptedMessage: chunks } }));
  }

  async receive(): Promise<Message[]> {
    const { inboxMessages } = good(await api.POST("/v2/inbox", { body: this.login }));
    return inboxMessages.map(({ encryptedMessage }) => {
      const chunks = encryptedMessage.map((chunk) => crypto.privateDecrypt(oaep(this.rsa.privateKey), bytes(chunk ?? "")));
      return JSON.parse(Buffer.concat(chunks).toString()) as Message;
    });
  }

  async leave() {
    good(await api.POST("/v2/user/delete", { body: { id: this.account.id, password: this.account.password } }));
    const gone = await api.GET("/v2/user/{idOrLookup}", { params: { path: { idOrLookup: this.account.lookup } } });
    assert.equal(gone.response.status, 404);
  }
}

async function findKey(idOrLookup: string): Promise<crypto.KeyObject> {
  const profile = good(await api.GET("/v2/user/{idOrLookup}", { params: { path: { idOrLookup } } }));
  return publicKey(profile.rsaPublicKey);
}

const ada = await Person.create("Ada");
const bo = await Person.create("Bo");

// Bo finds Ada by the lookup in her link, asks to follow her, and gets a secret and the key of her feed.
const adasKey = await findKey(ada.account.lookup);
await bo.send(ada.account.id, adasKey, { kind: "request", fromId: bo.account.id });
assert.deepEqual(await ada.receive(), [{ kind: "request", fromId: bo.account.id }]);
const secret = crypto.randomUUID();
good(await api.PUT("/v2/follow-secret", { body: { ...ada.login, followSecret: secret } }));
const acceptance: Message = { kind: "acceptance", fromId: ada.account.id, secret, key: base64(ada.key) };
await ada.send(bo.account.id, await findKey(bo.account.id), acceptance);
assert.deepEqual(await bo.receive(), [acceptance]);

// Ada publishes; Bo reads, decrypts and verifies, until Ada takes the secret back.
const workout = JSON.stringify({ name: "Leg day", sets: [{ exercise: "Squat", reps: 5, kilograms: 100 }] });
const iv = crypto.randomBytes(16);
const later = new Date(Date.now() + 86_400_000).toISOString();
good(
  await api.PUT("/v2/event", {
    body: {
      ...ada.login,
      eventId: crypto.randomUUID(),
      encryptedEventPayload: seal(ada.key, iv, ada.rsa.privateKey, workout),
      encryptedEventIV: base64(iv),
      expiry: later,
    },
  }),
);
const follow = { users: [{ userId: ada.account.id, followSecret: secret, since: "2000-01-01T00:00:00Z" }] };
const read = good(await api.POST("/v2/events", { body: follow }));
assert.deepEqual(read.invalidFollowSecrets, []);
assert.deepEqual(
  read.events.map((e) => open(bytes(acceptance.key!), e.encryptedEventIV, adasKey, e.encryptedEventPayload)),
  [workout],
);
good(await api.POST("/v2/follow-secret/delete", { body: { ...ada.login, followSecret: secret } }));
assert.deepEqual(good(await api.POST("/v2/events", { body: follow })), { events: [], invalidFollowSecrets: [secret] });

// A stranger reads what Ada shares by a link, whose key the server never sees.
const linkKey = crypto.randomBytes(16);
const encryptedPayload = { encryptedPayload: seal(linkKey, iv, ada.rsa.privateKey, workout), iv: { value: base64(iv) } };
const { id } = good(await api.POST("/v2/shareditem", { body: { ...ada.login, encryptedPayload, expiry: later } }));
const item = good(await api.GET("/v2/shareditem/{id}", { params: { path: { id } } }));
const sharedBy = publicKey(item.rsaPublicKey.spkiPublicKeyBytes);
assert.equal(open(linkKey, item.encryptedPayload.iv.value, sharedBy, item.encryptedPayload.encryptedPayload), workout);

// The planner takes a proof of the purchase.
const wishes = { areasToWorkout: ["Legs"], volume: 20, exerciseToKilograms: { Squat: 80 }, useImperialUnits: false };
const unpaid = await api.POST("/v2/ai/session", { body: { attributes: wishes } });
assert.equal(unpaid.response.status, 401);
const headers = { Authorization: `Web ${process.env["WEB_KEY"]}` };
const session = good(await api.POST("/v2/ai/session", { body: { attributes: wishes }, headers }));
assert.notEqual(session.exercises.length, 0);

// A refusal is typed as well.
const { error } = await api.POST("/v2/users", { body: { ids: [] } });
assert.deepEqual(Object.keys(error?.errors ?? {}), ["ids"]);

await Promise.all([ada.leave(), bo.leave()]);
