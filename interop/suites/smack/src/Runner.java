package comity.suites;

import java.io.IOException;
import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.logging.Handler;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import java.util.stream.Collectors;
import java.util.stream.Stream;

import org.igniterealtime.smack.inttest.Configuration;
import org.igniterealtime.smack.inttest.SmackIntegrationTestFramework;
import org.igniterealtime.smack.inttest.SmackIntegrationTestFramework.ConcreteTest;
import org.igniterealtime.smack.inttest.SmackIntegrationTestFramework.TestRunResult;
import org.igniterealtime.smack.inttest.annotations.SmackIntegrationTest;
import org.igniterealtime.smack.inttest.annotations.SpecificationReference;
import org.jivesoftware.smack.SmackException;
import org.jivesoftware.smack.SmackException.NotConnectedException;
import org.jivesoftware.smack.XMPPConnection;
import org.jivesoftware.smack.XMPPConnectionRegistry;
import org.jivesoftware.smack.XMPPException.XMPPErrorException;
import org.jivesoftware.smack.packet.Presence;
import org.jivesoftware.smack.roster.Roster;
import org.jivesoftware.smack.roster.RosterEntry;
import org.jivesoftware.smackx.muc.packet.MUCUser;
import org.jivesoftware.smackx.ping.PingManager;

/**
 * Runs the framework and writes one line for each test into the file that is its argument.
 *
 * <p>The framework gives up the whole run when a test throws what it does not expect. Then there is a line "aborted" for
 * that test and a line "left" for each test of its class that was not run; whoever started this runs the rest.
 *
 * <p>In tests that the property "comity.shown" matches, one client asks another something that does not know it. What a
 * server should not hand on between strangers (RFC 6121 section 8.5.3.1) it hands on to whoever shows himself: before such
 * a test all clients send each other directed presence, and after it they take it back. Subscriptions that other tests have
 * left end before that: when they end in the test, the unavailable presence that comes of it undoes the directed one.
 */
public final class Runner extends Handler {

    private static final Logger LOGGER = Logger.getLogger(SmackIntegrationTestFramework.class.getName());

    /** The status codes of XEP-0045: the highest is 333. */
    private static final int HIGHEST_STATUS = 333;

    private final List<String> lines = new ArrayList<>();

    private final List<XMPPConnection> clients = new CopyOnWriteArrayList<>();

    private final String shown = System.getProperty("comity.shown", "");

    private ConcreteTest current;

    /** Those who show themselves to each other in the current test. */
    private List<XMPPConnection> present = List.of();

    private Runner() {
    }

    public static void main(String[] arguments) throws Exception {
        SmackIntegrationTestFramework framework =
            new SmackIntegrationTestFramework(Configuration.newConfiguration(new String[0]));
        Runner runner = new Runner();
        LOGGER.addHandler(runner);
        XMPPConnectionRegistry.addConnectionCreationListener(runner.clients::add);
        // Smack collects them in a map without a lock, and three clients that read a new one at once get in each other's way.
        for (int code = 100; code <= HIGHEST_STATUS; code++) {
            MUCUser.Status.create(code);
        }
        Throwable abort = null;
        try {
            framework.run();
        } catch (Throwable error) {
            error.printStackTrace();
            abort = error;
        }
        // What is left after a test that made the framework give up can be nothing.
        boolean nothing = abort != null && String.valueOf(abort.getMessage()).startsWith("No integration tests selected");
        // The framework shows its results to those only who wait for its end, which an abort does not bring.
        Field result = SmackIntegrationTestFramework.class.getDeclaredField("testRunResult");
        result.setAccessible(true);
        runner.report((TestRunResult) result.get(framework), nothing ? null : abort);
        Files.write(Path.of(arguments[0]), runner.lines);
        // Connections of tests that failed may still have threads.
        System.exit(0);
    }

    /** Remembers which test is being run. */
    @Override
    @SuppressWarnings("deprecation")
    public void publish(LogRecord entry) {
        if (entry.getMessage().endsWith(" Start")) {
            current = SmackIntegrationTestFramework.getTestUnderExecution();
            show(Presence.Type.unavailable);
            Method method = current.getMethod();
            boolean isShown = (method.getDeclaringClass().getSimpleName() + '.' + method.getName()).matches(shown);
            present = isShown ? clients.stream().filter(XMPPConnection::isAuthenticated).collect(Collectors.toList()) : List.of();
            present.forEach(Runner::endSubscriptions);
            show(Presence.Type.available);
        }
    }

    /** Takes everybody out of the roster of a client. */
    private static void endSubscriptions(XMPPConnection client) {
        Roster roster = Roster.getInstanceFor(client);
        try {
            roster.reloadAndWait();
            for (RosterEntry entry : List.copyOf(roster.getEntries())) {
                roster.removeEntry(entry);
            }
        } catch (SmackException | XMPPErrorException | InterruptedException left) {
            // What is left ends in the test, which says the rest.
            left.printStackTrace();
        }
    }

    /** Has everybody who is present say to the others that he is there, or not any more. */
    private void show(Presence.Type type) {
        for (XMPPConnection client : present) {
            try {
                for (XMPPConnection other : present) {
                    if (other != client) {
                        client.sendStanza(
                            client.getStanzaFactory().buildPresenceStanza().ofType(type).to(other.getUser()).build());
                    }
                }
                // The server has seen it when it answers what comes behind it.
                PingManager.getInstanceFor(client).pingMyServer();
            } catch (NotConnectedException | InterruptedException gone) {
                // Whoever is gone is not shown; the test says the rest.
                gone.printStackTrace();
            }
        }
    }

    @Override
    public void flush() {
    }

    @Override
    public void close() {
    }

    private void report(TestRunResult result, Throwable abort) throws IOException {
        result.getSuccessfulTests().forEach(test -> add("passed", test.concreteTest, ""));
        result.getFailedTests().forEach(test -> add("failed", test.concreteTest, String.valueOf(test.failureReason)));
        result.getNotPossibleTests()
            .forEach(test -> add("impossible", test.concreteTest, test.testNotPossibleException.getMessage()));
        // A class that could not be made has no tests, only methods.
        result.getImpossibleTestClasses().forEach((type, reason) ->
            testsOf(type).forEach(method -> add("impossible", type, method, "", reason.getMessage())));
        if (abort != null) {
            if (current == null) {
                throw new IOException("the run ended before the first test", abort);
            }
            Class<?> type = current.getMethod().getDeclaringClass();
            Set<Method> left = new HashSet<>(testsOf(type));
            Stream.of(result.getSuccessfulTests(), result.getFailedTests(), result.getNotPossibleTests())
                .flatMap(List::stream).forEach(test -> left.remove(test.concreteTest.getMethod()));
            left.remove(current.getMethod());
            add("aborted", current, abort.toString());
            left.forEach(method -> add("left", type, method, "", ""));
        }
    }

    private static List<Method> testsOf(Class<?> type) {
        return Arrays.stream(type.getMethods())
            .filter(method -> method.isAnnotationPresent(SmackIntegrationTest.class)).collect(Collectors.toList());
    }

    private void add(String outcome, ConcreteTest test, String reason) {
        Method method = test.getMethod();
        add(outcome, method.getDeclaringClass(), method, String.join(", ", test.getSubdescriptons()), reason);
    }

    private void add(String outcome, Class<?> type, Method method, String connection, String reason) {
        SpecificationReference reference = type.getAnnotation(SpecificationReference.class);
        String specification = reference == null ? "" : reference.document().trim();
        String name = type.getSimpleName() + '.' + method.getName();
        if (!connection.isEmpty() && !connection.equals("tcp")) {
            name += " (" + connection + ')';
        }
        lines.add(String.join("\t", outcome, specification, name, String.valueOf(reason).replaceAll("\\s+", " ")));
    }
}
