import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;
import java.util.stream.LongStream;

/** What the programs in Java share: see doc.go for what they print. */
final class Checks {
  interface Check {
    void run() throws Exception;
  }

  /** What a subscriber hears, in order, as "message CHANNEL TEXT". Texts of bytes are to be decoded as ISO 8859-1. */
  static final class Events {
    private final LinkedBlockingQueue<String> heard = new LinkedBlockingQueue<>();

    void add(String event) {
      heard.add(event);
    }

    /** Demands the events, in this order. */
    void next(String... expected) throws InterruptedException {
      for (String event : expected) {
        equal(heard.poll(20, TimeUnit.SECONDS), event);
      }
    }
  }

  /** Every byte once, as ISO 8859-1. */
  static final String ALL_BYTES = IntStream.range(0, 256).collect(StringBuilder::new, (s, i) -> s.append((char) i), StringBuilder::append).toString();

  private static final BufferedReader STDIN = new BufferedReader(new InputStreamReader(System.in));

  private final Map<String, Check> checks = new LinkedHashMap<>();

  Checks add(String name, Check check) {
    checks.put(name, check);
    return this;
  }

  /** Runs the checks, one after another, and ends the process. */
  void run() {
    checks.forEach((name, check) -> {
      try {
        check.run();
        System.out.println("ok " + name);
      } catch (Throwable e) {
        System.out.println(("FAIL " + name + ": " + chain(e)).replace('\n', ' '));
      }
    });
    System.out.println("done " + checks.size());
    System.exit(0);
  }

  static void equal(Object got, Object expected) {
    if (!Objects.equals(got, expected)) {
      throw new AssertionError("got " + got + ", expected " + expected);
    }
  }

  /** Demands an exception of the class kind whose text, or that of one of its causes, contains text. */
  static void fails(Class<? extends Exception> kind, String text, Check check) {
    try {
      check.run();
    } catch (Exception e) {
      if (kind.isInstance(e) && chain(e).contains(text)) {
        return;
      }
      throw new AssertionError("got " + chain(e) + ", expected " + kind.getSimpleName() + ": " + text);
    }
    throw new AssertionError("nothing was thrown, expected " + kind.getSimpleName() + ": " + text);
  }

  /** Has the server killed and started again. */
  static void restartServer() throws Exception {
    System.out.println("restart");
    STDIN.readLine();
  }

  /** Waits until ask answers what is expected; an exception is no answer. */
  static void until(Callable<Object> ask, Object expected) throws Exception {
    Object got = null;
    for (long end = System.nanoTime() + 20_000_000_000L; System.nanoTime() < end; Thread.sleep(5)) {
      try {
        got = ask.call();
      } catch (RuntimeException e) {
        got = e;
      }
      if (Objects.equals(got, expected)) {
        return;
      }
    }
    equal(got, expected);
  }

  /** Four threads carry out what a check does 25 times each. */
  static void inFourThreads(Callable<Check> threads) throws Exception {
    List<Thread> all = new ArrayList<>();
    var failed = new LinkedBlockingQueue<Exception>();
    for (int i = 0; i < 4; i++) {
      Check once = threads.call();
      all.add(new Thread(() -> {
        try {
          for (int n = 0; n < 25; n++) {
            once.run();
          }
        } catch (Exception e) {
          failed.add(e);
        }
      }));
    }
    all.forEach(Thread::start);
    for (Thread t : all) {
      t.join();
    }
    if (!failed.isEmpty()) {
      throw failed.remove();
    }
  }

  interface Round {
    void run(int round) throws Exception;
  }

  /** Scans three times while churn, which writes a round of keys that come and go, runs over and over. */
  static void scans(Check scan, Round churn) throws Exception {
    var stop = new AtomicBoolean();
    var rounds = new AtomicInteger();
    var failed = new LinkedBlockingQueue<Exception>();
    var other = new Thread(() -> {
      try {
        for (; !stop.get(); rounds.incrementAndGet()) {
          churn.run(rounds.get());
        }
      } catch (Exception e) {
        failed.add(e);
      }
    });
    other.start();
    until(() -> rounds.get() >= 15 || !failed.isEmpty(), true);
    for (int pass = 0; pass < 3; pass++) {
      scan.run();
    }
    stop.set(true);
    other.join();
    if (!failed.isEmpty()) {
      throw failed.remove();
    }
  }

  /** An exception with all its causes. */
  static String chain(Throwable e) {
    return e.getCause() == null ? e.toString() : e + " < " + chain(e.getCause());
  }

  /** The replies of n INCR of a new key. */
  static List<Object> upTo(int n) {
    return new ArrayList<>(LongStream.rangeClosed(1, n).boxed().toList());
  }
}
