import static java.nio.charset.StandardCharsets.ISO_8859_1;

import io.lettuce.core.KeyValue;
import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisCommandExecutionException;
import io.lettuce.core.RedisConnectionException;
import io.lettuce.core.RedisFuture;
import io.lettuce.core.RedisURI;
import io.lettuce.core.ScanArgs;
import io.lettuce.core.ScanIterator;
import io.lettuce.core.SetArgs;
import io.lettuce.core.api.StatefulRedisConnection;
import io.lettuce.core.api.sync.RedisCommands;
import io.lettuce.core.codec.ByteArrayCodec;
import io.lettuce.core.codec.StringCodec;
import io.lettuce.core.output.StatusOutput;
import io.lettuce.core.protocol.CommandArgs;
import io.lettuce.core.protocol.CommandType;
import io.lettuce.core.protocol.ProtocolKeyword;
import io.lettuce.core.pubsub.RedisPubSubListener;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.logging.LogManager;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/** The checks of package clients, with Lettuce and its default options. For unix sockets it needs a library for each system. */
final class LettuceMain {
  private static final String NOT_INTEGER = "ERR value is not an integer or out of range";
  private static RedisClient client;
  private static StatefulRedisConnection<String, String> connection;
  private static RedisCommands<String, String> r;

  public static void main(String[] args) {
    int port = Integer.parseInt(args[0]), authPort = Integer.parseInt(args[2]);
    LogManager.getLogManager().reset(); // it logs each attempt to reconnect
    client = RedisClient.create(RedisURI.create("127.0.0.1", port));
    connection = client.connect();
    r = connection.sync();
    new Checks()
        .add("connect", () -> Checks.equal(r.ping(), "PONG"))
        .add("protocol", () -> Checks.equal(r.clientInfo().replaceAll("(?s).* resp=(\\d).*", "$1"), "3"))
        .add("count", LettuceMain::count)
        .add("pipeline", LettuceMain::pipeline)
        .add("transaction", LettuceMain::transaction)
        .add("transaction-error", LettuceMain::transactionError)
        .add("transaction-refused", LettuceMain::transactionRefused)
        .add("watch-conflict", LettuceMain::watchConflict)
        .add("watch-increment", () -> {
          Checks.inFourThreads(() -> {
            var mine = client.connect().sync();
            return () -> watchIncrement(mine);
          });
          Checks.equal(r.get("optimistic"), "100");
        })
        .add("scan", LettuceMain::scan)
        .add("expiry", LettuceMain::expiry)
        .add("errors", LettuceMain::errors)
        .add("errors-auth", () -> errorsAuth(authPort))
        .add("errors-memory", LettuceMain::errorsMemory)
        .add("big-value", LettuceMain::bigValue)
        .add("binary", LettuceMain::binary)
        .add("pub-sub", LettuceMain::pubSub)
        .add("reconnect", LettuceMain::reconnect)
        .run();
  }

  private static void count() {
    Checks.equal(List.of(r.incr("count"), r.incrby("count", 10), r.decr("count"), r.decrby("count", 20)), List.of(1L, 11L, 10L, -10L));
    Checks.equal(r.get("count"), "-10");
    Checks.equal(List.of(r.incrbyfloat("count:float", 0.1), r.incrbyfloat("count:float", 0.2)), List.of(0.1, 0.3));
    Checks.equal(r.mget("count", "count:none"), List.of(KeyValue.just("count", "-10"), KeyValue.empty("count:none")));
  }

  private static void pipeline() throws Exception {
    List<RedisFuture<Long>> futures = new ArrayList<>();
    for (int i = 0; i < 10_000; i++) {
      futures.add(connection.async().incr("pipeline"));
    }
    List<Object> replies = new ArrayList<>();
    for (var f : futures) {
      replies.add(f.get(20, TimeUnit.SECONDS));
    }
    Checks.equal(replies, Checks.upTo(10_000));
  }

  private static void transaction() {
    r.multi();
    r.set("tx", "5");
    r.incrby("tx", 10);
    r.get("tx");
    r.ttl("tx");
    Checks.equal(r.exec().stream().toList(), List.of("OK", 15L, "15", -1L));
  }

  private static void transactionError() throws Exception {
    r.set("tx:text", "text");
    r.multi();
    var before = connection.async().incr("tx:before");
    var text = connection.async().incr("tx:text");
    var after = connection.async().incr("tx:after");
    var replies = r.exec();
    Checks.equal(List.of(before.get(10, TimeUnit.SECONDS), after.get(10, TimeUnit.SECONDS)), List.of(1L, 1L));
    Checks.fails(ExecutionException.class, NOT_INTEGER, () -> text.get(10, TimeUnit.SECONDS));
    Checks.equal(((RedisCommandExecutionException) replies.get(1)).getMessage(), NOT_INTEGER);
  }

  private static void transactionRefused() {
    r.multi();
    r.incr("tx:refused");
    Checks.equal(send(CommandType.INCR), null); // within MULTI, nothing is waited for
    Checks.fails(RedisCommandExecutionException.class, "EXECABORT Transaction discarded because of previous errors.", r::exec);
    Checks.equal(r.exists("tx:refused"), 0L);
  }

  private static void watchConflict() {
    var mine = client.connect().sync();
    mine.watch("watched");
    r.set("watched", "theirs");
    mine.multi();
    mine.set("watched", "ours");
    Checks.equal(mine.exec().wasDiscarded(), true);
    Checks.equal(r.get("watched"), "theirs");
  }

  private static void watchIncrement(RedisCommands<String, String> mine) {
    do {
      mine.watch("optimistic");
      String n = mine.get("optimistic");
      mine.multi();
      mine.set("optimistic", String.valueOf(n == null ? 1 : Integer.parseInt(n) + 1));
    } while (mine.exec().wasDiscarded());
  }

  private static void scan() throws Exception {
    Map<String, String> stay = new TreeMap<>(IntStream.range(0, 3000).boxed().collect(Collectors.toMap(i -> "stay:" + i, i -> "1")));
    r.mset(stay);
    var mine = client.connect().async();
    Checks.scans(() -> {
      var found = new TreeSet<String>();
      ScanIterator.scan(r, ScanArgs.Builder.matches("stay:*").limit(100)).forEachRemaining(found::add);
      Checks.equal(found, stay.keySet());
    }, round -> {
      RedisFuture<Long> last = null;
      for (int i = 0; i < 300; i++) {
        mine.set("go:" + round % 20 + ":" + i, "1");
        last = mine.del("go:" + (round + 10) % 20 + ":" + i);
      }
      last.get(20, TimeUnit.SECONDS);
    });
  }

  private static void expiry() throws Exception {
    r.set("expiry", "1", SetArgs.Builder.ex(100));
    long ttl = r.ttl("expiry");
    Checks.equal(ttl >= 98 && ttl <= 100, true);
    Checks.equal(List.of(r.persist("expiry"), r.ttl("expiry"), r.expire("expiry", 50)), List.of(true, -1L, true));
    long pttl = r.pttl("expiry");
    Checks.equal(pttl > 48_000 && pttl <= 50_000, true);
    Checks.equal(List.of(r.expire("expiry:none", 50), r.ttl("expiry:none")), List.of(false, -2L));
    r.set("expiry:soon", "1", SetArgs.Builder.px(30));
    Checks.until(() -> r.exists("expiry:soon"), 0L);
    Checks.equal(r.get("expiry:soon"), null);
  }

  private static String send(ProtocolKeyword command, String... args) {
    return r.dispatch(command, new StatusOutput<>(StringCodec.UTF8), new CommandArgs<>(StringCodec.UTF8).addValues(args));
  }

  private static void errors() {
    r.set("errors", "text");
    Checks.fails(RedisCommandExecutionException.class, NOT_INTEGER, () -> r.incr("errors"));
    Checks.fails(RedisCommandExecutionException.class, "ERR unknown command 'NOPE', with args beginning with: 'a'",
        () -> send(() -> "NOPE".getBytes(), "a"));
    Checks.fails(RedisCommandExecutionException.class, "ERR wrong number of arguments for 'get' command", () -> send(CommandType.GET));
    Checks.fails(RedisCommandExecutionException.class, "ERR syntax error", () -> send(CommandType.SET, "errors", "v", "NOPE"));
    Checks.equal(r.ping(), "PONG");
  }

  private static void errorsAuth(int port) {
    var uri = RedisURI.builder().withHost("127.0.0.1").withPort(port);
    Checks.fails(RedisConnectionException.class, "NOAUTH ", () -> RedisClient.create(uri.build()).connect().sync().ping());
    Checks.fails(RedisConnectionException.class, "WRONGPASS ", () -> RedisClient.create(uri.withPassword("wrong".toCharArray()).build()).connect());
    Checks.equal(RedisClient.create(uri.withPassword("secret".toCharArray()).build()).connect().sync().ping(), "PONG");
  }

  private static void errorsMemory() {
    r.set("memory", "1");
    r.configSet("maxmemory", "1");
    try {
      Checks.fails(RedisCommandExecutionException.class, "OOM command not allowed when used memory > 'maxmemory'", () -> r.incr("memory"));
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
    var bytes = client.connect(ByteArrayCodec.INSTANCE).sync();
    Checks.equal(bytes.set("big".getBytes(), value), "OK");
    Checks.equal(r.strlen("big"), 1L << 20);
    Checks.equal(Arrays.equals(bytes.get("big".getBytes()), value), true);
  }

  private static void binary() {
    byte[] all = Checks.ALL_BYTES.getBytes(ISO_8859_1);
    var bytes = client.connect(ByteArrayCodec.INSTANCE).sync();
    Checks.equal(bytes.set(all, all), "OK");
    Checks.equal(Arrays.equals(bytes.get(all), all), true);
    Checks.equal(bytes.exists(all), 1L);
  }

  /** Turns what is heard into events. */
  static final class Listener implements RedisPubSubListener<String, String> {
    final Checks.Events events = new Checks.Events();

    @Override
    public void message(String channel, String message) {
      events.add("message " + channel + " " + message);
    }

    @Override
    public void message(String pattern, String channel, String message) {
      events.add("pmessage " + pattern + " " + channel + " " + message);
    }

    @Override
    public void smessage(String channel, String message) {
      events.add("smessage " + channel + " " + message);
    }

    @Override
    public void subscribed(String channel, long count) {
      events.add("subscribe " + channel + " " + count);
    }

    @Override
    public void psubscribed(String pattern, long count) {
      events.add("psubscribe " + pattern + " " + count);
    }

    @Override
    public void ssubscribed(String channel, long count) {
      events.add("ssubscribe " + channel + " " + count);
    }

    @Override
    public void unsubscribed(String channel, long count) {
      events.add("unsubscribe " + channel + " " + count);
    }

    @Override
    public void punsubscribed(String pattern, long count) {
      events.add("punsubscribe " + pattern + " " + count);
    }

    @Override
    public void sunsubscribed(String channel, long count) {
      events.add("sunsubscribe " + channel + " " + count);
    }
  }

  private static void pubSub() throws Exception {
    var latin1 = new StringCodec(ISO_8859_1);
    var mine = client.connectPubSub(latin1);
    var publisher = client.connect(latin1).sync();
    var listener = new Listener();
    mine.addListener(listener);
    var s = mine.sync();
    var events = listener.events;
    Checks.equal(publisher.publish("news", "nobody"), 0L);
    s.subscribe("news");
    s.psubscribe("new?");
    events.next("subscribe news 1", "psubscribe new? 2");
    Checks.equal(List.of(publisher.publish("news", Checks.ALL_BYTES), publisher.publish("newt", "two")), List.of(2L, 1L));
    Checks.equal(List.of(publisher.publish("news", ""), publisher.publish("new", "to nobody")), List.of(2L, 0L));
    events.next("message news " + Checks.ALL_BYTES, "pmessage new? news " + Checks.ALL_BYTES, "pmessage new? newt two",
        "message news ", "pmessage new? news ");
    s.unsubscribe("news");
    events.next("unsubscribe news 1");
    Checks.equal(publisher.publish("news", "three"), 1L);
    events.next("pmessage new? news three");
    s.punsubscribe("new?");
    events.next("punsubscribe new? 0");
    Checks.equal(publisher.publish("news", "nobody"), 0L);
    s.ssubscribe("shard");
    events.next("ssubscribe shard 1");
    Checks.equal(List.of(publisher.publish("shard", "to nobody"), publisher.spublish("shard", "one")), List.of(0L, 1L));
    events.next("smessage shard one");
    s.sunsubscribe("shard");
    events.next("sunsubscribe shard 0");
    Checks.equal(publisher.spublish("shard", "nobody"), 0L);
    mine.close();
  }

  private static void reconnect() throws Exception {
    var mine = client.connectPubSub();
    var listener = new Listener();
    mine.addListener(listener);
    mine.sync().subscribe("renewed");
    listener.events.next("subscribe renewed 1");
    Checks.equal(r.incrby("reconnect", 10), 10L);
    Checks.restartServer();
    Checks.equal(r.incr("reconnect"), 11L);
    Checks.until(() -> r.publish("renewed", "after"), 1L);
    listener.events.next("subscribe renewed 1", "message renewed after");
  }
}
