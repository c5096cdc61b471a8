import io.lettuce.core.ClientOptions;
import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisCommandExecutionException;
import io.lettuce.core.RedisConnectionException;
import io.lettuce.core.RedisFuture;
import io.lettuce.core.RedisURI;
import io.lettuce.core.SslOptions;
import io.lettuce.core.api.StatefulRedisConnection;
import java.io.File;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;

/** The checks of secure_test.go, with Lettuce. */
final class LettuceSecure {
  private static int port;

  public static void main(String[] args) {
    port = Integer.parseInt(args[0]);
    SslOptions good = ssl(args[1], args[2], args[3]);
    var connection = connect("localhost", good, "app-secret");
    var r = connection.sync();
    var async = connection.async();
    Checks.Check whoami = () -> Checks.equal(r.aclWhoami(), "app");
    new Checks()
        .add("connect", whoami)
        .add("count", () -> Checks.equal(List.of(r.incr("app:n"), r.incrby("app:n", 41), r.get("app:n")), List.of(1L, 42L, "42")))
        .add("pipeline", () -> {
          List<RedisFuture<Long>> futures = new ArrayList<>();
          for (int i = 0; i < 1000; i++) {
            futures.add(async.incr("app:pipeline"));
          }
          List<Object> replies = new ArrayList<>();
          for (var f : futures) {
            replies.add(f.get(10, TimeUnit.SECONDS));
          }
          Checks.equal(replies, Checks.upTo(1000));
        })
        .add("transaction", () -> {
          r.multi();
          r.set("app:tx", "5");
          r.incrby("app:tx", 10);
          Checks.equal(r.exec().stream().toList(), List.of("OK", 15L));
        })
        .add("big-value", () -> {
          String value = "v".repeat(1_000_000);
          Checks.equal(r.set("app:big", value), "OK");
          Checks.equal(r.get("app:big").equals(value), true);
        })
        .add("noperm-command", () -> {
          Checks.fails(RedisCommandExecutionException.class, "NOPERM ", r::flushall);
          whoami.run();
        })
        .add("noperm-key", () -> {
          Checks.fails(RedisCommandExecutionException.class, "NOPERM ", () -> r.incr("other"));
          whoami.run();
        })
        .add("noperm-pipeline", () -> {
          var before = async.incr("app:pipe");
          var no = async.incr("other");
          var after = async.incr("app:pipe");
          Checks.equal(before.get(10, TimeUnit.SECONDS), 1L);
          Checks.fails(ExecutionException.class, "RedisCommandExecutionException: NOPERM ", () -> no.get(10, TimeUnit.SECONDS));
          Checks.equal(after.get(10, TimeUnit.SECONDS), 2L);
        })
        .add("noperm-transaction", () -> {
          r.multi();
          async.incr("app:denied");
          var no = async.incr("other");
          Checks.fails(RedisCommandExecutionException.class, "EXECABORT ", r::exec);
          Checks.fails(ExecutionException.class, "NOPERM ", () -> no.get(10, TimeUnit.SECONDS));
          Checks.equal(r.exists("app:denied"), 0L);
        })
        .add("no-certificate", () -> refused("", "localhost", ssl(args[1], null, null), "app-secret"))
        .add("unknown-authority", () -> refused("PKIX path", "localhost",
            ssl(args[4], args[2], args[3]), "app-secret"))
        .add("other-name", () -> refused("No subject alternative names matching IP address", "127.0.0.1", good, "app-secret"))
        .add("wrong-password", () -> refused("WRONGPASS ", "localhost", good, "wrong"))
        .run();
  }

  private static SslOptions ssl(String ca, String cert, String key) {
    var ssl = SslOptions.builder().jdkSslProvider().trustManager(new File(ca));
    if (cert != null) {
      ssl.keyManager(new File(cert), new File(key), new char[0]);
    }
    return ssl.build();
  }

  private static StatefulRedisConnection<String, String> connect(String host, SslOptions ssl, String password) {
    RedisClient client = RedisClient.create(RedisURI.builder().withHost(host).withPort(port).withSsl(true).withAuthentication("app", password).build());
    client.setOptions(ClientOptions.builder().sslOptions(ssl).autoReconnect(false).build());
    return client.connect();
  }

  private static void refused(String why, String host, SslOptions ssl, String password) {
    Checks.fails(RedisConnectionException.class, why, () -> connect(host, ssl, password).sync().ping());
  }
}
