// Drives both hubs below CHAT_URL with the client that the apps use, as they use it. CHAT_KEY is the web app's key, CHAT_BUYER the
// token of somebody who has bought the app, and the model behind the chat the stand-in of package plannertest, whose answers are
// steered by words.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as signalr10 from 'signalr';
import * as signalr9 from 'signalr9';

const base = process.env.CHAT_URL;
const key = process.env.CHAT_KEY;
const buyer = process.env.CHAT_BUYER;
assert.ok(base && key && buyer, 'CHAT_URL, CHAT_KEY and CHAT_BUYER have to be set');

// The arguments of the methods that have the model asked, at each hub.
const hubs = {
  '/ai-chat': { introduction: ['en-AU'], said: (text) => [text] },
  '/ai-chat-v2': { introduction: ['en-AU', 3, 'kg'], said: (text) => [text, 3] },
};

// open connects and collects what is received.
async function open({ client = signalr10, path = '/ai-chat', token = `Web ${key}`, options = {} } = {}) {
  const connection = new client.HubConnectionBuilder()
    .withUrl(base + path, { accessTokenFactory: () => token, ...options })
    .configureLogging(client.LogLevel.None)
    .build();
  const received = [];
  connection.on('ReceiveMessage', (response) => received.push(response));
  await connection.start();
  return { connection, received };
}

const until = async (condition) => {
  while (!condition()) {
    await new Promise((done) => setTimeout(done, 5));
  }
};

const last = (received) => received.at(-1);
const answer = (text) => `You said: ${text}. This answer comes from the fake model and is long enough to need several pieces.`;

// assertGrows holds answers to be always the whole so far.
function assertGrows(received) {
  assert.ok(received.length > 1, 'an answer comes in steps');
  for (let i = 1; i < received.length; i++) {
    assert.equal(received[i].type, 'messageResponse');
    assert.ok(received[i].message.startsWith(received[i - 1].message), `${received[i].message} does not go on`);
  }
}

for (const [version, client] of Object.entries({ 10: signalr10, 9: signalr9 })) {
  for (const [path, { introduction, said }] of Object.entries(hubs)) {
    test(`a conversation with client ${version} at ${path}`, { timeout: 30_000 }, async () => {
      assert.equal(client.VERSION.split('.')[0], version);
      const { connection, received } = await open({ client, path });
      await connection.invoke('Introduce', ...introduction);
      assertGrows(received);
      received.length = 0;
      await connection.invoke('SendMessage', ...said('hello'));
      assertGrows(received);
      assert.equal(last(received).message, answer('hello'));
      received.length = 0;
      const broken = connection.invoke('SendMessage', ...said('a slow answer'));
      await until(() => received.length > 1);
      const restarted = connection.send('RestartChat');
      received.length = 0;
      await connection.invoke('Introduce', ...introduction);
      assertGrows(received);
      await Promise.all([broken, restarted]);
      await connection.stop();
    });
  }
}

for (const path of ['/v2/ai-chat', '/AI-Chat/', '/v2/ai-chat-v2', '/V2/ai-chat-V2/']) {
  test(`a connection to ${path}`, { timeout: 30_000 }, async () => {
    const { connection } = await open({ path });
    await connection.invoke('StopInProgress');
    await connection.stop();
  });
}

for (const [path, { said }] of Object.entries(hubs)) {
  test(`a conversation goes on after a lost connection to ${path}`, { timeout: 30_000 }, async () => {
    const token = `${buyer}-${path.slice(1)}`;
    const first = await open({ path, token });
    await first.connection.invoke('SendMessage', ...said('hello'));
    const ended = new Promise((done) => first.connection.onclose(done));
    first.connection.connection.transport._webSocket.terminate();
    await ended;
    const second = await open({ path, token });
    await second.connection.invoke('SendMessage', ...said('recall'));
    assert.equal(last(second.received).message, answer('recall'));
    await second.connection.stop();
  });
}

test('a plan of today grows, and is what the model wrote', { timeout: 30_000 }, async () => {
  const { connection, received } = await open({ path: '/ai-chat-v2' });
  await connection.invoke('SendMessage', 'preface plan', 3);
  assert.ok(received.length > 2);
  const plans = received.filter(({ type }) => type === 'chatPlan');
  assert.equal(received[0].type, 'messageResponse');
  assert.ok(plans.length > 1);
  for (const plan of plans) {
    assert.deepEqual(Object.keys(plan), ['type', 'name', 'description', 'blueprint', 'version']);
  }
  const plan = last(received);
  assert.equal(plan.version, 3);
  assert.equal(plan.blueprint.sessions.length, 2);
  assert.equal(plan.blueprint.sessions[0].exercises[0].type, 'WeightedExerciseBlueprint');
  await connection.stop();
});

test('an older app is told to be updated', { timeout: 30_000 }, async () => {
  const { connection, received } = await open({ path: '/ai-chat-v2' });
  await connection.invoke('Introduce', 'en-AU', 2, 'kg');
  await connection.invoke('SendMessage', 'hello', -1);
  assert.deepEqual(received, Array(2).fill({ type: 'updateRequired', requiredVersion: 3 }));
  for (const version of ['3', 3.5, null, 99999999999, [3], true]) {
    await assert.rejects(connection.invoke('SendMessage', 'hello', version), /Failed to invoke 'SendMessage' due to an error on the server\./);
  }
  await connection.invoke('SendMessage', 'hello', 4);
  assert.equal(last(received).message, answer('hello'));
  await connection.stop();
});

test('a plan grows', { timeout: 30_000 }, async () => {
  const { connection, received } = await open();
  await connection.invoke('SendMessage', 'a plan, please');
  assert.ok(received.length > 2);
  for (const { type, plan } of received) {
    assert.equal(type, 'chatPlan');
    assert.deepEqual(Object.keys(plan), ['name', 'description', 'sessions']);
  }
  const { plan } = last(received);
  assert.equal(plan.sessions.length, 2);
  assert.deepEqual(plan.sessions[0].exercises[0], {
    name: 'Bench press', sets: 3, repsPerSet: 8, weightIncreaseOnSuccess: 2.5,
    restBetweenSets: { minRest: '00:01:30', maxRest: '00:03:00', failureRest: '00:05:00' },
    supersetWithNext: false, notes: 'Keep the bar path straight', link: '',
  });
  await connection.stop();
});

test('texts arrive as they are', { timeout: 30_000 }, async () => {
  const { connection, received } = await open();
  await connection.invoke('SendMessage', 'escapes "ça va" 日本 👋🏽 <b>&\'+\\');
  assertGrows(received);
  assert.ok(last(received).message.startsWith('You said: escapes "ça va" 日本 👋🏽 <b>&\'+\\. Line one\nline two\ttabbed'));
  await connection.stop();
});

test('StopInProgress ends an answer, and the next one works', { timeout: 30_000 }, async () => {
  const { connection, received } = await open();
  const running = connection.invoke('SendMessage', 'a slow answer');
  await until(() => received.length > 1);
  await connection.invoke('StopInProgress');
  await running;
  const count = received.length;
  await connection.invoke('SendMessage', 'after');
  assert.ok(received.length > count);
  assert.equal(last(received).message, answer('after'));
  await connection.stop();
});

test('StopInProgress gets through while the model is silent', { timeout: 30_000 }, async () => {
  const { connection, received } = await open();
  const running = connection.invoke('SendMessage', 'hang');
  await connection.send('StopInProgress');
  await running;
  assert.deepEqual(received, []);
  await connection.stop();
});

test('RestartChat and Introduce sent back to back', { timeout: 30_000 }, async () => {
  const { connection, received } = await open();
  await connection.invoke('SendMessage', 'hello');
  received.length = 0;
  const restarted = connection.send('RestartChat');
  await connection.invoke('Introduce', 'en-AU');
  await restarted;
  assertGrows(received);
  await connection.stop();
});

test('a call waits behind a running one, and a third is refused', { timeout: 30_000 }, async () => {
  const { connection, received } = await open();
  const running = connection.invoke('SendMessage', 'a slow answer');
  const waiting = connection.invoke('SendMessage', 'hello');
  await assert.rejects(connection.invoke('SendMessage', 'third'), /An unexpected error occurred invoking 'SendMessage' on the server\./);
  await until(() => received.length > 0);
  await connection.invoke('StopInProgress');
  await running;
  await waiting;
  assert.equal(last(received).message, answer('hello'));
  await connection.stop();
});

test('a failure of the model is told to the person and to the app', { timeout: 30_000 }, async () => {
  const { connection, received } = await open();
  await assert.rejects(connection.invoke('SendMessage', 'fail500'), /An unexpected error occurred invoking 'SendMessage' on the server\./);
  assert.equal(last(received).type, 'messageResponse');
  assert.ok(last(received).message.length > 10);
  await connection.invoke('SendMessage', 'after');
  assert.equal(last(received).message, answer('after'));
  await connection.stop();
});

test('wrong calls leave the connection as it was', { timeout: 30_000 }, async () => {
  const { connection } = await open();
  await assert.rejects(connection.invoke('NoSuchMethod'), /HubException: Method does not exist\./);
  await assert.rejects(connection.invoke('SendMessage'), /Failed to invoke 'SendMessage' due to an error on the server\./);
  await assert.rejects(connection.invoke('SendMessage', 5), /Failed to invoke 'SendMessage' due to an error on the server\./);
  await assert.rejects(connection.invoke('SendMessage', null), /An unexpected error occurred invoking 'SendMessage' on the server\./);
  await connection.invoke('StopInProgress');
  await connection.stop();
});

test('wrong tokens are refused', { timeout: 30_000 }, async () => {
  for (const token of ['Web wrong', 'Nowhere x', 'x', '']) {
    await assert.rejects(open({ token }), /negotiation with the server: Error: Unauthorized: Status code '401'$/, token);
  }
});

test('without a negotiation', { timeout: 30_000 }, async () => {
  const { connection, received } = await open({
    options: { skipNegotiation: true, transport: signalr10.HttpTransportType.WebSockets },
  });
  await connection.invoke('SendMessage', 'hello');
  assert.equal(last(received).message, answer('hello'));
  await connection.stop();
});

test('a client without WebSockets is told so', { timeout: 30_000 }, async () => {
  for (const transport of [signalr10.HttpTransportType.LongPolling, signalr10.HttpTransportType.ServerSentEvents]) {
    await assert.rejects(open({ options: { transport } }), /None of the transports supported by the client are supported by the server|disabled by the client/);
  }
});

test('a connection is made again after it was stopped', { timeout: 30_000 }, async () => {
  const { connection, received } = await open();
  await connection.invoke('SendMessage', 'hello');
  const first = connection.connectionId;
  await connection.stop();
  await connection.start();
  assert.notEqual(connection.connectionId, first);
  await connection.invoke('SendMessage', 'again');
  assert.equal(last(received).message, answer('again'));
  await connection.stop();
});

test('two clients at once do not hear each other', { timeout: 30_000 }, async () => {
  const [one, two] = await Promise.all([open(), open()]);
  await Promise.all([one.connection.invoke('SendMessage', 'one'), two.connection.invoke('SendMessage', 'two')]);
  assert.equal(last(one.received).message, answer('one'));
  assert.equal(last(two.received).message, answer('two'));
  assertGrows(one.received);
  assertGrows(two.received);
  await Promise.all([one.connection.stop(), two.connection.stop()]);
});
