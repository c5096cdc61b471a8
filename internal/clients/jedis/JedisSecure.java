import java.io.File;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import java.util.List;
import redis.clients.jedis.DefaultJedisClientConfig;
import redis.clients.jedis.HostAndPort;
import redis.clients.jedis.Protocol;
import redis.clients.jedis.RedisClient;
import redis.clients.jedis.SslOptions;
import redis.clients.jedis.exceptions.JedisAccessControlException;
import redis.clients.jedis.exceptions.JedisConnectionException;
import redis.clients.jedis.exceptions.JedisDataException;

/** The checks of secure_test.go, with Jedis. */
final class JedisSecure {
  private static final char[] STORE = "store-secret".toCharArray();
  private static int port;

  public static void main(String[] args) throws Exception {
    port = Integer.parseInt(args[0]);
    File trust = trustStore(args[1]), unknown = trustStore(args[4]), own = keyStore(args[2], args[3]);
    RedisClient r = connect("localhost", trust, own, "app-secret");
    Checks.Check whoami = () -> Checks.equal(text(r.sendCommand(Protocol.Command.ACL, "WHOAMI")), "app");
    new Checks()
        .add("connect", whoami)
        .add("count", () -> Checks.equal(List.of(r.incr("app:n"), r.incrBy("app:n", 41), r.get("app:n")), List.of(1L, 42L, "42")))
        .add("pipeline", () -> {
          try (var p = r.pipelined()) {
            for (int i = 0; i < 1000; i++) {
              p.incr("app:pipeline");
            }
            Checks.equal(p.syncAndReturnAll(), Checks.upTo(1000));
          }
        })
        .add("transaction", () -> {
          try (var t = r.multi()) {
            t.set("app:tx", "5");
            t.incrBy("app:tx", 10);
            Checks.equal(t.exec(), List.of("OK", 15L));
          }
        })
        .add("big-value", () -> {
          String value = "v".repeat(1_000_000);
          Checks.equal(r.set("app:big", value), "OK");
          Checks.equal(r.get("app:big").equals(value), true);
        })
        .add("noperm-command", () -> {
          Checks.fails(JedisAccessControlException.class, "NOPERM ", r::flushAll);
          whoami.run();
        })
        .add("noperm-key", () -> {
          Checks.fails(JedisAccessControlException.class, "NOPERM ", () -> r.incr("other"));
          whoami.run();
        })
        .add("noperm-pipeline", () -> {
          try (var p = r.pipelined()) {
            p.incr("app:pipe");
            p.incr("other");
            p.incr("app:pipe");
            List<Object> replies = p.syncAndReturnAll();
            Checks.equal(List.of(replies.get(0), replies.get(1).getClass(), replies.get(2)),
                List.of(1L, JedisAccessControlException.class, 2L));
          }
        })
        .add("noperm-transaction", () -> {
          try (var t = r.multi()) {
            t.incr("app:denied");
            t.incr("other");
            Checks.fails(JedisDataException.class, "EXECABORT ", t::exec);
          }
          Checks.equal(r.exists("app:denied"), false);
        })
        .add("no-certificate", () -> refused("", "localhost", trust, null))
        .add("unknown-authority", () -> refused("PKIX path", "localhost", unknown, own))
        .add("other-name", () -> refused("No subject alternative names matching IP address", "127.0.0.1", trust, own))
        .add("wrong-password", () -> Checks.fails(JedisAccessControlException.class, "WRONGPASS ",
            () -> connect("localhost", trust, own, "wrong").ping()))
        .run();
  }

  private static RedisClient connect(String host, File trust, File own, String password) {
    var ssl = SslOptions.builder().trustStoreType("pkcs12").truststore(trust, STORE);
    if (own != null) {
      ssl.keyStoreType("pkcs12").keystore(own, STORE);
    }
    var config = DefaultJedisClientConfig.builder().user("app").password(password).sslOptions(ssl.build()).build();
    return RedisClient.builder().hostAndPort(new HostAndPort(host, port)).clientConfig(config).build();
  }

  private static void refused(String why, String host, File trust, File own) {
    Checks.fails(JedisConnectionException.class, why, () -> connect(host, trust, own, "app-secret").ping());
  }

  private static String text(Object reply) {
    return new String((byte[]) reply);
  }

  // Jedis takes stores of Java's. A user makes them with `keytool -importcert` and `openssl pkcs12 -export`.

  private static File trustStore(String ca) throws Exception {
    KeyStore s = KeyStore.getInstance("PKCS12");
    s.load(null, null);
    s.setCertificateEntry("ca", certificate(ca));
    return write(s);
  }

  private static File keyStore(String cert, String key) throws Exception {
    String pem = Files.readString(Path.of(key)).replaceAll("-----[A-Z ]+-----", "");
    var der = new PKCS8EncodedKeySpec(Base64.getMimeDecoder().decode(pem));
    KeyStore s = KeyStore.getInstance("PKCS12");
    s.load(null, null);
    s.setKeyEntry("own", KeyFactory.getInstance("EC").generatePrivate(der), STORE, new Certificate[] {certificate(cert)});
    return write(s);
  }

  private static Certificate certificate(String path) throws Exception {
    try (var in = new FileInputStream(path)) {
      return CertificateFactory.getInstance("X.509").generateCertificate(in);
    }
  }

  private static File write(KeyStore s) throws Exception {
    File file = File.createTempFile("quipu-jedis", ".p12");
    file.deleteOnExit();
    try (var out = new FileOutputStream(file)) {
      s.store(out, STORE);
    }
    return file;
  }
}
