import static java.nio.charset.StandardCharsets.ISO_8859_1;

import java.util.Arrays;
import java.util.List;
import java.util.TreeSet;
import java.util.stream.IntStream;
import redis.clients.jedis.BinaryJedisPubSub;
import redis.clients.jedis.JedisPubSub;
import redis.clients.jedis.Protocol;
import redis.clients.jedis.RedisClient;
import redis.clients.jedis.exceptions.JedisAccessControlException;
import redis.clients.jedis.exceptions.JedisConnectionException;
import redis.clients.jedis.exceptions.JedisDataException;
import redis.clients.jedis.params.SetParams;

/** The checks of package clients, with Jedis and its default options. It knows no unix sockets. */
final class JedisMain {
  private static final String NOT_INTEGER = "ERR value is not an integer or out of range";
  private static RedisClient r;

  public static void main(String[] args) {
    int port = Integer.parseInt(args[0]), authPort = Integer.parseInt(args[2]);
    r = RedisClient.create("127.0.0.1", port);
    new Checks()
        .add("connect", () -> Checks.equal(r.ping(), "PONG"))
        .add("protocol", () -> Checks.equal(text(r.sendCommand(Protocol.Command.CLIENT, "INFO")).replaceAll("(?s).* resp=(\\d).*", "$1"), "3"))
        .add("count", JedisMain::count)
        .add("pipeline", JedisMain::pipeline)
        .add("transaction", JedisMain::transaction)
        .add("transaction-error", JedisMain::transactionError)
        .add("transaction-refused", JedisMain::transactionRefused)
        .add("watch-conflict", JedisMain::watchConflict)
        .add("watch-increment", () -> {
          Checks.inFourThreads(() -> JedisMain::watchIncrement);
          Checks.equal(r.get("optimistic"), "100");
        })
        .add("scan", JedisMain::scan)
        .add("expiry", JedisMain::expiry)
        .add("errors", JedisMain::errors)
        .add("errors-auth", () -> errorsAuth(authPort))
        .add("errors-memory", JedisMain::errorsMemory)
        .add("big-value", JedisMain::bigValue)
        .add("binary", JedisMain::binary)
        .add("pub-sub", JedisMain::pubSub)
        .add("reconnect", JedisMain::reconnect)
        .run();
  }

  private static String text(Object reply) {
    return reply instanceof byte[] bytes ? new String(bytes) : String.valueOf(reply);
  }

  private static void count() {
    Checks.equal(List.of(r.incr("count"), r.incrBy("count", 10), r.decr("count"), r.decrBy("count", 20)), List.of(1L, 11L, 10L, -10L));
    Checks.equal(r.get("count"), "-10");
    Checks.equal(List.of(r.incrByFloat("count:float", 0.1), r.incrByFloat("count:float", 0.2)), List.of(0.1, 0.3));
    Checks.equal(r.mget("count", "count:none"), Arrays.asList("-10", null));
  }

  private static void pipeline() {
    try (var p = r.pipelined()) {
      for (int i = 0; i < 10_000; i++) {
        p.incr("pipeline");
      }
      Checks.equal(p.syncAndReturnAll(), Checks.upTo(10_000));
    }
  }

  private static void transaction() {
    try (var t = r.multi()) {
      t.set("tx", "5");
      t.incrBy("tx", 10);
      t.get("tx");
      t.ttl("tx");
      Checks.equal(t.exec(), List.of("OK", 15L, "15", -1L));
    }
  }

  private static void transactionError() {
    r.set("tx:text", "text");
    try (var t = r.multi()) {
      t.incr("tx:before");
      t.incr("tx:text");
      t.incr("tx:after");
      var replies = t.exec();
      Checks.equal(List.of(replies.get(0), replies.get(2)), List.of(1L, 1L));
      Checks.equal(((JedisDataException) replies.get(1)).getMessage(), NOT_INTEGER);
    }
  }

  private static void transactionRefused() {
    try (var t = r.multi()) {
      t.incr("tx:refused");
      t.sendCommand(Protocol.Command.INCR, new String[0]);
      Checks.fails(JedisDataException.class, "EXECABORT Transaction discarded because of previous errors.", t::exec);
    }
    Checks.equal(r.exists("tx:refused"), false);
  }

  private static void watchConflict() {
    try (var t = r.transaction(false)) {
      t.watch("watched");
      r.set("watched", "theirs");
      t.multi();
      t.set("watched", "ours");
      Checks.equal(t.exec(), null);
    }
    Checks.equal(r.get("watched"), "theirs");
  }

  private static void watchIncrement() {
    for (List<Object> done = null; done == null; ) {
      try (var t = r.transaction(false)) {
        t.watch("optimistic");
        String n = r.get("optimistic");
        t.multi();
        t.set("optimistic", String.valueOf(n == null ? 1 : Integer.parseInt(n) + 1));
        done = t.exec();
      }
    }
  }

  private static void scan() throws Exception {
    var stay = new TreeSet<>(IntStream.range(0, 3000).mapToObj(i -> "stay:" + i).toList());
    r.mset(stay.stream().flatMap(key -> List.of(key, "1").stream()).toArray(String[]::new));
    Checks.scans(() -> {
      var found = new TreeSet<String>();
      for (var scan = r.scanIteration(100, "stay:*"); !scan.isIterationCompleted(); ) {
        found.addAll(scan.nextBatchList());
      }
      Checks.equal(found, stay);
    }, round -> {
      try (var p = r.pipelined()) {
        for (int i = 0; i < 300; i++) {
          p.set("go:" + round % 20 + ":" + i, "1");
          p.del("go:" + (round + 10) % 20 + ":" + i);
        }
        p.sync();
      }
    });
  }

  private static void expiry() throws Exception {
    r.set("expiry", "1", SetParams.setParams().ex(100));
    long ttl = r.ttl("expiry");
    Checks.equal(ttl >= 98 && ttl <= 100, true);
    Checks.equal(List.of(r.persist("expiry"), r.ttl("expiry"), r.expire("expiry", 50)), List.of(1L, -1L, 1L));
    long pttl = r.pttl("expiry");
    Checks.equal(pttl > 48_000 && pttl <= 50_000, true);
    Checks.equal(List.of(r.expire("expiry:none", 50), r.ttl("expiry:none")), List.of(0L, -2L));
    r.set("expiry:soon", "1", SetParams.setParams().px(30));
    Checks.until(() -> r.exists("expiry:soon"), false);
    Checks.equal(r.get("expiry:soon"), null);
  }

  private static void errors() {
    r.set("errors", "text");
    Checks.fails(JedisDataException.class, NOT_INTEGER, () -> r.incr("errors"));
    Checks.fails(JedisDataException.class, "ERR unknown command 'NOPE', with args beginning with: 'a'",
        () -> r.sendCommand(() -> "NOPE".getBytes(), "a"));
    Checks.fails(JedisDataException.class, "ERR wrong number of arguments for 'get' command", () -> r.sendCommand(Protocol.Command.GET));
    Checks.fails(JedisDataException.class, "ERR syntax error", () -> r.sendCommand(Protocol.Command.SET, "errors", "v", "NOPE"));
    Checks.equal(r.ping(), "PONG");
  }

  private static void errorsAuth(int port) {
    Checks.fails(JedisDataException.class, "NOAUTH ", () -> RedisClient.create("127.0.0.1", port).ping());
    Checks.fails(JedisAccessControlException.class, "WRONGPASS ", () -> RedisClient.create("127.0.0.1", port, null, "wrong").ping());
    Checks.equal(RedisClient.create("127.0.0.1", port, null, "secret").ping(), "PONG");
  }

  private static void errorsMemory() {
    r.set("memory", "1");
    r.configSet("maxmemory", "1");
    try {
      Checks.fails(JedisDataException.class, "OOM command not allowed when used memory > 'maxmemory'", () -> r.incr("memory"));
      Checks.equal(r.get("memory"), "1");
    } finally {
      r.configSet("maxmemory", "0");
    }
    Checks.equal(r.incr("memory"), 2L);
  }

  private static void bigValue() {
    byte[] value = new byte[1 << 20];
    for (int i = 0; i < value.length; i++) {
      value[i] = (byte) (i * 7 % 251);
    }
    Checks.equal(r.set("big".getBytes(), value), "OK");
    Checks.equal(r.strlen("big"), 1L << 20);
    Checks.equal(Arrays.equals(r.get("big".getBytes()), value), true);
  }

  private static void binary() {
    byte[] all = Checks.ALL_BYTES.getBytes(ISO_8859_1);
    Checks.equal(r.set(all, all), "OK");
    Checks.equal(Arrays.equals(r.get(all), all), true);
    Checks.equal(r.exists(all), true);
  }

  /** Hears channels and patterns; subscribe keeps its thread until nothing is subscribed any more. */
  static final class Subscriber extends JedisPubSub {
    final Checks.Events events = new Checks.Events();

    @Override
    public void onSubscribe(String channel, int count) {
      events.add("subscribe " + channel + " " + count);
    }

    @Override
    public void onPSubscribe(String pattern, int count) {
      events.add("psubscribe " + pattern + " " + count);
    }

    @Override
    public void onUnsubscribe(String channel, int count) {
      events.add("unsubscribe " + channel + " " + count);
    }

    @Override
    public void onPUnsubscribe(String pattern, int count) {
      events.add("punsubscribe " + pattern + " " + count);
    }

    @Override
    public void onMessage(String channel, String message) {
      events.add("message " + channel + " " + message);
    }

    @Override
    public void onPMessage(String pattern, String channel, String message) {
      events.add("pmessage " + pattern + " " + channel + " " + message);
    }
  }

  /** The same for bytes. */
  static final class BinarySubscriber extends BinaryJedisPubSub {
    final Checks.Events events = new Checks.Events();

    @Override
    public void onSubscribe(byte[] channel, int count) {
      events.add("subscribe " + new String(channel, ISO_8859_1));
    }

    @Override
    public void onMessage(byte[] channel, byte[] message) {
      events.add("message " + new String(channel, ISO_8859_1) + " " + new String(message, ISO_8859_1));
    }
  }

  private static void pubSub() throws Exception {
    Checks.equal(r.publish("news", "nobody"), 0L);
    var s = new Subscriber();
    var thread = new Thread(() -> r.subscribe(s, "news"));
    thread.start();
    s.events.next("subscribe news 1");
    s.psubscribe("new?");
    s.events.next("psubscribe new? 2");
    Checks.equal(List.of(r.publish("news", "one"), r.publish("newt", "two"), r.publish("new", "to nobody")), List.of(2L, 1L, 0L));
    s.events.next("message news one", "pmessage new? news one", "pmessage new? newt two");
    s.unsubscribe("news");
    s.events.next("unsubscribe news 1");
    Checks.equal(r.publish("news", "three"), 1L);
    s.events.next("pmessage new? news three");
    s.punsubscribe("new?");
    s.events.next("punsubscribe new? 0");
    Checks.equal(r.publish("news", "nobody"), 0L);
    thread.join();

    var b = new BinarySubscriber();
    byte[] all = Checks.ALL_BYTES.getBytes(ISO_8859_1);
    thread = new Thread(() -> r.subscribe(b, all));
    thread.start();
    b.events.next("subscribe " + Checks.ALL_BYTES);
    Checks.equal(r.publish(all, all), 1L);
    b.events.next("message " + Checks.ALL_BYTES + " " + Checks.ALL_BYTES);
    b.unsubscribe();
    thread.join();
  }

  /** A pooled connection that is lost is found out by a command, which is not sent again. */
  private static void reconnect() throws Exception {
    Checks.equal(r.incrBy("reconnect", 10), 10L);
    Checks.restartServer();
    Checks.fails(JedisConnectionException.class, "", () -> r.get("reconnect"));
    Checks.until(() -> r.get("reconnect"), "10");
    Checks.equal(r.incr("reconnect"), 11L);
  }
}
