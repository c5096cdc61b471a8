import static java.nio.charset.StandardCharsets.ISO_8859_1;

import io.lettuce.core.KeyValue;
import io.lettuce.core.RedisFuture;
import io.lettuce.core.RedisURI;
import io.lettuce.core.cluster.RedisClusterClient;
import io.lettuce.core.cluster.SlotHash;
import io.lettuce.core.cluster.api.StatefulRedisClusterConnection;
import io.lettuce.core.cluster.api.sync.RedisAdvancedClusterCommands;
import io.lettuce.core.codec.StringCodec;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** The checks of cluster_mode_test.go, with Lettuce and its default options. */
final class LettuceCluster {
  private static RedisClusterClient client;
  private static StatefulRedisClusterConnection<String, String> connection;
  private static RedisAdvancedClusterCommands<String, String> r;

  public static void main(String[] args) {
    client = RedisClusterClient.create(RedisURI.create("127.0.0.1", Integer.parseInt(args[0])));
    connection = client.connect();
    r = connection.sync();
    new Checks()
        .add("connect", () -> Checks.equal(List.of(r.ping(), r.upstream().size()), List.of("PONG", 1)))
        .add("count", () -> {
          for (int i = 0; i < 100; i++) {
            Checks.equal(List.of(r.incr("lettuce:" + i), r.get("lettuce:" + i)), List.of(1L, "1"));
          }
        })
        .add("pipeline", () -> {
          List<RedisFuture<Long>> futures = new ArrayList<>();
          for (int i = 0; i < 100; i++) {
            futures.add(connection.async().incrby("lettuce:" + i, i));
          }
          List<Object> replies = new ArrayList<>();
          for (var f : futures) {
            replies.add(f.get(20, TimeUnit.SECONDS));
          }
          Checks.equal(replies, Checks.upTo(100));
        })
        .add("mget", () -> {
          Checks.equal(r.mset(Map.of("{lettuce}a", "1", "{lettuce}b", "2")), "OK");
          Checks.equal(r.mget("{lettuce}a", "{lettuce}b", "{lettuce}none"),
              List.of(KeyValue.just("{lettuce}a", "1"), KeyValue.just("{lettuce}b", "2"), KeyValue.empty("{lettuce}none")));
        })
        .add("transaction", LettuceCluster::transaction)
        .add("pub-sub", LettuceCluster::pubSub)
        .add("sharded", LettuceCluster::sharded)
        .run();
  }

  /** Transactions are for a connection to one node. */
  private static void transaction() {
    var node = client.getPartitions().getPartitionBySlot(SlotHash.getSlot("{lettuce}a"));
    var mine = connection.getConnection(node.getNodeId()).sync();
    mine.multi();
    mine.incrby("{lettuce}a", 10);
    mine.get("{lettuce}a");
    Checks.equal(mine.exec().stream().toList(), List.of(11L, "11"));
  }

  private static void pubSub() throws Exception {
    var latin1 = new StringCodec(ISO_8859_1);
    var mine = client.connectPubSub(latin1);
    var publisher = client.connect(latin1).sync();
    var listener = new LettuceMain.Listener();
    mine.addListener(listener);
    mine.sync().subscribe("lettuce:news");
    mine.sync().psubscribe("lettuce:new?");
    listener.events.next("subscribe lettuce:news 1", "psubscribe lettuce:new? 2");
    for (String text : List.of("one", Checks.ALL_BYTES)) {
      publisher.publish("lettuce:news", text);
      listener.events.next("message lettuce:news " + text, "pmessage lettuce:new? lettuce:news " + text);
    }
    mine.close();
  }

  private static void sharded() throws Exception {
    var mine = client.connectPubSub();
    var listener = new LettuceMain.Listener();
    mine.addListener(listener);
    mine.sync().ssubscribe("lettuce:shard");
    listener.events.next("ssubscribe lettuce:shard 1");
    Checks.equal(r.spublish("lettuce:shard", "one"), 1L);
    listener.events.next("smessage lettuce:shard one");
    mine.sync().sunsubscribe("lettuce:shard");
    listener.events.next("sunsubscribe lettuce:shard 0");
    Checks.equal(r.spublish("lettuce:shard", "nobody"), 0L);
  }
}
