import static java.nio.charset.StandardCharsets.ISO_8859_1;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import redis.clients.jedis.BinaryJedisPubSub;
import redis.clients.jedis.HostAndPort;
import redis.clients.jedis.JedisShardedPubSub;
import redis.clients.jedis.RedisClusterClient;
import redis.clients.jedis.Response;

/** The checks of cluster_mode_test.go, with Jedis and its default options. Its client for clusters has no transactions. */
final class JedisCluster {
  private static RedisClusterClient r;

  public static void main(String[] args) {
    r = RedisClusterClient.create(Set.of(new HostAndPort("127.0.0.1", Integer.parseInt(args[0]))));
    new Checks()
        .add("connect", () -> Checks.equal(r.ping(), "PONG"))
        .add("count", () -> {
          for (int i = 0; i < 100; i++) {
            Checks.equal(List.of(r.incr("jedis:" + i), r.get("jedis:" + i)), List.of(1L, "1"));
          }
        })
        .add("pipeline", () -> {
          List<Object> replies = new ArrayList<>();
          try (var p = r.pipelined()) {
            var responses = new ArrayList<Response<Long>>();
            for (int i = 0; i < 100; i++) {
              responses.add(p.incrBy("jedis:" + i, i));
            }
            p.sync();
            responses.forEach(response -> replies.add(response.get()));
          }
          Checks.equal(replies, Checks.upTo(100));
        })
        .add("mget", () -> {
          Checks.equal(r.mset("{jedis}a", "1", "{jedis}b", "2"), "OK");
          Checks.equal(r.mget("{jedis}a", "{jedis}b", "{jedis}none"), Arrays.asList("1", "2", null));
        })
        .add("pub-sub", JedisCluster::pubSub)
        .add("sharded", JedisCluster::sharded)
        .run();
  }

  private static void pubSub() throws Exception {
    var events = new Checks.Events();
    var s = new BinaryJedisPubSub() {
      @Override
      public void onSubscribe(byte[] channel, int count) {
        events.add("subscribe " + latin1(channel));
      }

      @Override
      public void onPSubscribe(byte[] pattern, int count) {
        events.add("psubscribe " + latin1(pattern));
      }

      @Override
      public void onMessage(byte[] channel, byte[] message) {
        events.add("message " + latin1(channel) + " " + latin1(message));
      }

      @Override
      public void onPMessage(byte[] pattern, byte[] channel, byte[] message) {
        events.add("pmessage " + latin1(pattern) + " " + latin1(channel) + " " + latin1(message));
      }
    };
    var thread = new Thread(() -> r.subscribe(s, "jedis:news".getBytes()));
    thread.start();
    events.next("subscribe jedis:news");
    s.psubscribe("jedis:new?".getBytes());
    events.next("psubscribe jedis:new?");
    for (String text : List.of("one", Checks.ALL_BYTES)) {
      r.publish("jedis:news".getBytes(), text.getBytes(ISO_8859_1));
      events.next("message jedis:news " + text, "pmessage jedis:new? jedis:news " + text);
    }
    s.unsubscribe();
    s.punsubscribe();
    thread.join();
  }

  private static String latin1(byte[] bytes) {
    return new String(bytes, ISO_8859_1);
  }

  private static void sharded() throws Exception {
    var events = new Checks.Events();
    var s = new JedisShardedPubSub() {
      @Override
      public void onSSubscribe(String channel, int count) {
        events.add("ssubscribe " + channel);
      }

      @Override
      public void onSMessage(String channel, String message) {
        events.add("smessage " + channel + " " + message);
      }
    };
    var thread = new Thread(() -> r.ssubscribe(s, "jedis:shard"));
    thread.start();
    events.next("ssubscribe jedis:shard");
    Checks.equal(r.spublish("jedis:shard", "one"), 1L);
    events.next("smessage jedis:shard one");
    s.sunsubscribe();
    thread.join();
    Checks.equal(r.spublish("jedis:shard", "nobody"), 0L);
  }
}
