/**
 * A chat room: the server's handler, and a client that comes back, both on whatever network a Layer provides.
 *
 * What holds, whatever happens to connections and servers, for as long as the room lives:
 *
 * - A client sees every message of the room once and in the room's order. What it could not be shown, because it was
 *   away for longer than the room remembers, it is told of as `Missed`.
 * - A message whose `say` has succeeded is in the room once. One whose `say` was interrupted or failed may be in it.
 *
 * It takes three things: messages are numbered by the room and a client that comes back says what it has seen; those
 * of a client are numbered by the client, sent again until they are acknowledged, and taken once; and the room outlives
 * the servers that serve it. A room that has forgotten all has another name, by which clients know.
 *
 * Nobody waits for a slow reader: who is more than `queue` messages behind is let go with 1013 and comes back later.
 */
import * as PreparedMessage from "effect-websocket/PreparedMessage"
import * as ReconnectingWebSocket from "effect-websocket/ReconnectingWebSocket"
import * as RetryHint from "effect-websocket/RetryHint"
import { type ReadError, WriteError } from "effect-websocket/WebSocketError"
import { type Payload, WebSocketStream } from "effect-websocket/WebSocketStream"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"

const Name = Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(40))
const Text = Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(2000))
const Count = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))

/** The first message of a client: who it is, and the last message it has seen of which room. */
export const Join = Schema.TaggedStruct("Join", {
  client: Name,
  name: Name,
  resume: Schema.optional(Schema.Struct({ room: Schema.String, lastSeen: Count }))
})

/** Every other message of a client. `number` tells its own messages apart. */
export const Say = Schema.TaggedStruct("Say", { number: Count, text: Text })

/** A message of the room. */
export const Said = Schema.TaggedStruct("Said", { id: Count, name: Name, text: Text })

/** What a server sends: first that the messages after `after` follow, then these, and an answer to each `Say`. */
export const FromServer = Schema.Union([
  Schema.TaggedStruct("Welcome", { room: Schema.String, after: Count }),
  Said,
  Schema.TaggedStruct("Ack", { number: Count, id: Count })
])

const decodeJoin = Schema.decodeUnknownEffect(Schema.fromJsonString(Join))
const decodeSay = Schema.decodeUnknownEffect(Schema.fromJsonString(Say))
const decodeFromServer = Schema.decodeUnknownEffect(Schema.fromJsonString(FromServer))

const encode = (message: typeof Join.Type | typeof Say.Type | typeof FromServer.Type): string => JSON.stringify(message)

/** 100 bits of chance. */
const makeName = Effect.map(
  Effect.all([Random.next, Random.next]),
  (chances) => chances.map((chance) => chance.toString(36).slice(2)).join("-")
)

/** A member is more than `queue` messages behind. */
export class TooSlow extends Data.TaggedError("TooSlow") {}

/** Somebody in the room. */
interface Member {
  readonly queue: Queue.Queue<PreparedMessage.PreparedMessage>
  readonly tooSlow: Deferred.Deferred<never, TooSlow>
}

interface Entry {
  readonly id: number
  readonly client: string
  readonly number: number
  readonly message: PreparedMessage.PreparedMessage
}

/** What a member is given when it comes in. */
export interface Entered {
  readonly welcome: typeof FromServer.Type
  /** What the room remembers of what the member has not seen. */
  readonly missed: ReadonlyArray<PreparedMessage.PreparedMessage>
  /** What is said from now on, as soon as there is something. */
  readonly next: Effect.Effect<ReadonlyArray<PreparedMessage.PreparedMessage>>
  readonly tooSlow: Effect.Effect<never, TooSlow>
}

/** What is said, in its order, and who listens. It outlives servers. */
export class Room extends Context.Service<Room, {
  /** Says something, once however often it is asked to, and gives its number in the room. */
  readonly say: (join: typeof Join.Type, say: typeof Say.Type) => Effect.Effect<number, WriteError>
  /** Comes in, for as long as the scope is open. */
  readonly enter: (join: typeof Join.Type) => Effect.Effect<Entered, never, Scope.Scope>
}>()("scratchpad/chat/Room") {}

export interface RoomOptions {
  /** Messages that the room remembers. Default 100. */
  readonly history?: number | undefined
  /** Messages that a member may be behind. Default 64. */
  readonly queue?: number | undefined
}

class State {
  readonly name: string
  readonly #limits: Required<{ readonly [K in keyof RoomOptions]: number }>
  readonly #members = new Set<Member>()
  /** One message after another gets its number. */
  readonly #order = Semaphore.makeUnsafe(1)
  #history: ReadonlyArray<Entry> = []
  #last = 0

  constructor(name: string, { history = 100, queue = 64 }: RoomOptions) {
    this.name = name
    this.#limits = { history, queue }
  }

  readonly say = ({ client, name }: typeof Join.Type, { number, text }: typeof Say.Type) =>
    this.#order.withPermit(Effect.suspend(() => {
      const known = this.#history.find((entry) => entry.client === client && entry.number === number)
      if (known !== undefined) return Effect.succeed(known.id)
      const id = this.#last + 1
      return Effect.map(PreparedMessage.make(encode({ _tag: "Said", id, name, text })), (message) => {
        this.#publish({ id, client, number, message })
        return id
      })
    }))

  #publish(entry: Entry): void {
    this.#last = entry.id
    this.#history = [...this.#history, entry].slice(-this.#limits.history)
    for (const member of this.#members) {
      if (Queue.offerUnsafe(member.queue, entry.message)) continue
      this.#members.delete(member)
      Deferred.doneUnsafe(member.tooSlow, Effect.fail(new TooSlow()))
    }
  }

  readonly enter = Effect.fnUntraced({ self: this }, function*({ resume }: typeof Join.Type) {
    const queue = yield* Queue.dropping<PreparedMessage.PreparedMessage>(this.#limits.queue)
    const member = { queue, tooSlow: Deferred.makeUnsafe<never, TooSlow>() }
    const { after, missed } = yield* Effect.acquireRelease(
      Effect.sync(() => {
        this.#members.add(member)
        return this.#since(resume)
      }),
      () => Effect.sync(() => this.#members.delete(member))
    )
    return {
      welcome: { _tag: "Welcome" as const, room: this.name, after },
      missed,
      next: Queue.takeAll(queue),
      tooSlow: Deferred.await(member.tooSlow)
    }
  })

  #since(resume: (typeof Join.Type)["resume"]) {
    const forgotten = (this.#history[0]?.id ?? 1) - 1
    const seen = resume?.room === this.name ? Math.min(resume.lastSeen, this.#last) : 0
    const after = Math.max(seen, forgotten)
    return { after, missed: this.#history.filter(({ id }) => id > after).map(({ message }) => message) }
  }
}

/** An empty room. */
export const layerRoom = (options: RoomOptions = {}): Layer.Layer<Room> =>
  Layer.effect(Room, Effect.map(makeName, (name) => Room.of(new State(name, options))))

/** Whether the connection has ended, which for a chat is nothing to fail with. */
const isClosed = ({ reason }: ReadError | WriteError): boolean =>
  reason._tag === "ConnectionClosed" || reason._tag === "TransportFailed"

const converse = Effect.gen(function*() {
  const stream = yield* WebSocketStream
  const room = yield* Room
  const join = yield* Effect.timeout(Effect.flatMap(stream.read, decodeJoin), "10 seconds")
  const { missed, next, tooSlow, welcome } = yield* room.enter(join)
  const answer = Effect.fnUntraced(function*(message: Payload) {
    const say = yield* decodeSay(message)
    yield* stream.write(encode({ _tag: "Ack", number: say.number, id: yield* room.say(join, say) }))
  })
  const speak = Stream.runForEach(stream.messages, answer)
  const listen = Effect.forever(Effect.flatMap(next, (messages) => stream.writeAll(messages)))
  const opened = Effect.andThen(stream.writeAll([encode(welcome), ...missed]), Effect.raceFirst(speak, listen))
  yield* Effect.raceFirst(opened, tooSlow)
})

const close = (code: number, reason: string) => WebSocketStream.use((stream) => stream.close({ code, reason }))

/** The server's side of one connection. */
export const handler: Effect.Effect<void, ReadError | WriteError, Room | WebSocketStream> = Effect.scoped(converse)
  .pipe(
    Effect.catchTags({
      SchemaError: () => close(1008, "not understood"),
      // A code for what may go better another time.
      TimeoutError: () => close(3008, "too late"),
      TooSlow: () => close(1013, RetryHint.format(Duration.seconds(1)))
    }),
    Effect.catchIf(isClosed, () => Effect.void),
    Effect.asVoid
  )

/** What a client sees: a message, or that it missed some; how many, where the room still knew. */
export type Event = typeof Said.Type | { readonly _tag: "Missed"; readonly count: number | undefined }

/** Why there will be no more of a chat: the connection ended for good, or the server is none of a chat. */
export type Failure<E> = ReconnectingWebSocket.Failure<E> | Schema.SchemaError

export interface Client<E> {
  /** Says something, and waits until it is in the room: gives its number there. Sent again after a reconnect. */
  readonly say: (text: string) => Effect.Effect<number, WriteError | Failure<E>>
  /**
   * The room's messages, one's own among them. At most 256 are read ahead; then the server is made to wait, and
   * answers to `say` wait with it.
   */
  readonly events: Stream.Stream<Event, Failure<E>>
  /** Where the connection stands, and its changes. */
  readonly stateChanges: Stream.Stream<ReconnectingWebSocket.State<E>>
}

export interface ClientOptions<E, R, R2> extends
  Pick<
    ReconnectingWebSocket.Options<E | WriteError, R, never, never, R2>,
    "schedule" | "resetAfter" | "maxRetryHint" | "while"
  >
{
  readonly name: string
  /** Makes a connection, such as `WebSocketClient.dial`. */
  readonly connect: Effect.Effect<WebSocketStream["Service"], E, R>
}

/** What is said and not acknowledged. */
interface Pending {
  readonly frame: string
  readonly acknowledged: Deferred.Deferred<number, never>
}

class Session {
  readonly client: string
  readonly name: string
  readonly pending = new Map<number, Pending>()
  #resume: (typeof Join.Type)["resume"]
  #numbers = 0

  constructor(client: string, name: string) {
    this.client = client
    this.name = name
  }

  /** What a new connection begins with. */
  get opening(): ReadonlyArray<string> {
    const resume = this.#resume === undefined ? {} : { resume: this.#resume }
    const join = encode({ _tag: "Join", client: this.client, name: this.name, ...resume })
    return [join, ...Array.from(this.pending.values(), ({ frame }) => frame)]
  }

  begin(text: string): readonly [number: number, pending: Pending] {
    const number = this.#numbers++
    const pending = { frame: encode({ _tag: "Say", number, text }), acknowledged: Deferred.makeUnsafe<number>() }
    this.pending.set(number, pending)
    return [number, pending]
  }

  /** Takes what a server sent. Connections that overlap send the same twice. */
  hear(message: typeof FromServer.Type): Event | undefined {
    if (message._tag === "Welcome") return this.#welcome(message)
    if (message._tag === "Said") return this.#said(message)
    const pending = this.pending.get(message.number)
    if (pending !== undefined) Deferred.doneUnsafe(pending.acknowledged, Exit.succeed(message.id))
    return undefined
  }

  #welcome({ after, room }: { readonly room: string; readonly after: number }): Event | undefined {
    const before = this.#resume
    const isSame = before?.room === room
    this.#resume = { room, lastSeen: isSame ? Math.max(before.lastSeen, after) : after }
    if (before === undefined) return undefined
    if (!isSame) return { _tag: "Missed", count: undefined }
    return after > before.lastSeen ? { _tag: "Missed", count: after - before.lastSeen } : undefined
  }

  #said(message: typeof Said.Type): Event | undefined {
    if (this.#resume === undefined || message.id <= this.#resume.lastSeen) return undefined
    this.#resume = { ...this.#resume, lastSeen: message.id }
    return message
  }
}

/** Joins the room, and again after each reconnect, for as long as the scope is open. */
export const client = Effect.fnUntraced(function*<E, R, R2 = never>({ name, ...options }: ClientOptions<E, R, R2>) {
  const session = new Session(yield* makeName, name)
  const socket = yield* ReconnectingWebSocket.make({
    ...options,
    onOpen: (stream) => stream.writeAll(session.opening)
  })
  const ended = Deferred.makeUnsafe<never, Failure<E | WriteError>>()
  const events = yield* Queue.bounded<Event, Failure<E | WriteError>>(256)
  yield* Effect.addFinalizer(() => Effect.andThen(Deferred.interrupt(ended), Queue.interrupt(events)))
  yield* Effect.forkScoped(
    hearing(socket, session, events).pipe(
      Effect.onError((cause) => Effect.andThen(Queue.failCause(events, cause), Deferred.failCause(ended, cause)))
    )
  )
  return {
    say: (text: string) => saying(socket, session, text, Deferred.await(ended)),
    events: Stream.fromQueue(events),
    stateChanges: socket.stateChanges
  } satisfies Client<E | WriteError>
})

/** Until the connection has ended for good. What a reader that fell behind missed, the current connection sends again. */
const hearing = <E>(
  socket: ReconnectingWebSocket.ReconnectingWebSocket<E>,
  session: Session,
  events: Queue.Queue<Event, Failure<E>>
): Effect.Effect<void, Failure<E>> =>
  Stream.runForEach(socket.messages, (message) =>
    Effect.flatMap(decodeFromServer(message), (decoded) => {
      const event = session.hear(decoded)
      return event === undefined ? Effect.void : Queue.offer(events, event)
    })).pipe(
      Effect.retry({ while: (error) => error instanceof ReconnectingWebSocket.MessagesMissed })
    ) as Effect.Effect<void, Failure<E>>

const saying = <E>(
  socket: ReconnectingWebSocket.ReconnectingWebSocket<E>,
  session: Session,
  text: string,
  ended: Effect.Effect<never, Failure<E>>
): Effect.Effect<number, WriteError | Failure<E>> =>
  Effect.suspend(() => {
    const [number, { acknowledged, frame }] = session.begin(text)
    return socket.write(frame).pipe(
      Effect.catchIf(
        // It is sent again by the next connection, where there is one.
        (error) => error instanceof WriteError && isClosed(error),
        () => Effect.succeed(0)
      ),
      Effect.andThen(Effect.raceFirst(Deferred.await(acknowledged), ended)),
      Effect.ensuring(Effect.sync(() => session.pending.delete(number)))
    )
  })
