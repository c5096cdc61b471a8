import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KGroupedStream;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * Counts likes by post, exactly once, with Kafka Streams and its defaults: RocksDB, a changelog topic, a commit every 100 ms.
 * It ends when all events are counted, and prints the seconds from the first event that it saw to the commit that passed the last
 * count on.
 *
 * <p>Usage: Streams BROKER TOPIC APPLICATION FOLDER EVENTS THREADS field|key. With "field" the post is taken from the value, so
 * that Streams sends the events through a repartition topic; with "key" it is the record's key, and there is none.
 */
public final class Streams {
    private static volatile long begun;

    public static void main(String[] args) throws InterruptedException {
        String topic = args[1];
        long events = Long.parseLong(args[4]);
        boolean byKey = args[6].equals("key");

        StreamsBuilder builder = new StreamsBuilder();
        KStream<String, String> likes =
                builder.stream(topic, Consumed.with(Serdes.String(), Serdes.String())).peek((key, value) -> begin());
        KGroupedStream<String, String> byPost = byKey
                ? likes.groupByKey()
                : likes.groupBy((key, value) -> post(value), Grouped.with(Serdes.String(), Serdes.String()));
        Map<String, Long> counts = new ConcurrentHashMap<>();
        AtomicLong counted = new AtomicLong();
        CountDownLatch done = new CountDownLatch(1);
        byPost.count(Materialized.<String, Long, KeyValueStore<Bytes, byte[]>>as("likes")).toStream().foreach((post, n) -> {
            Long before = counts.put(post, n);
            if (counted.addAndGet(n - (before == null ? 0 : before)) >= events) {
                done.countDown();
            }
        });

        KafkaStreams streams = new KafkaStreams(builder.build(), settings(args));
        streams.setUncaughtExceptionHandler(e -> {
            e.printStackTrace();
            done.countDown();
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        streams.start();
        done.await();
        double seconds = (System.nanoTime() - begun) / 1e9;
        if (counted.get() == events) {
            System.out.printf("counted %d in %.3f s%n", events, seconds);
        } else {
            System.out.printf("counted %d of %d%n", counted.get(), events);
        }
        streams.close(Duration.ofSeconds(10));
        System.exit(counted.get() == events ? 0 : 1);
    }

    private static Properties settings(String[] args) {
        Properties p = new Properties();
        p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, args[0]);
        p.put(StreamsConfig.APPLICATION_ID_CONFIG, args[2]);
        p.put(StreamsConfig.STATE_DIR_CONFIG, args[3]);
        p.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, args[5]);
        p.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        p.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
        p.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
        p.put("auto.offset.reset", "earliest");
        return p;
    }

    private static void begin() {
        if (begun == 0) {
            begun = System.nanoTime();
        }
    }

    /** The post of a like, found without a parser: less work than quipu-connect does, which checks the JSON. */
    private static String post(String like) {
        String name = "\"post_id\":\"";
        int from = like.indexOf(name) + name.length();
        return like.substring(from, like.indexOf('"', from));
    }
}
