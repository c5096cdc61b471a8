import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.stream.LongStream;

/** What the programs in Java share: see doc.go for what they print. */
final class Checks {
  interface Check {
    void run() throws Exception;
  }

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

  /** An exception with all its causes. */
  static String chain(Throwable e) {
    return e.getCause() == null ? e.toString() : e + " < " + chain(e.getCause());
  }

  /** The replies of n INCR of a new key. */
  static List<Object> upTo(int n) {
    return new ArrayList<>(LongStream.rangeClosed(1, n).boxed().toList());
  }
}
