package comity.suites;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.reflect.Method;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

import org.igniterealtime.smack.inttest.SmackIntegrationTestFramework;
import org.igniterealtime.smack.inttest.annotations.SmackIntegrationTest;
import org.igniterealtime.smack.inttest.annotations.SpecificationReference;

/** Writes one line for each test of a run into the file that the property comity.report names. */
public final class Report implements SmackIntegrationTestFramework.TestRunResultProcessor {

    private final List<String> lines = new ArrayList<>();

    @Override
    public void process(SmackIntegrationTestFramework.TestRunResult result) {
        result.getSuccessfulTests().forEach(test -> add("passed", test.concreteTest, ""));
        result.getFailedTests().forEach(test -> add("failed", test.concreteTest, String.valueOf(test.failureReason)));
        result.getNotPossibleTests()
            .forEach(test -> add("impossible", test.concreteTest, test.testNotPossibleException.getMessage()));
        // A class that could not be made has no tests, only methods.
        result.getImpossibleTestClasses().forEach((type, reason) -> {
            for (Method method : type.getMethods()) {
                if (method.isAnnotationPresent(SmackIntegrationTest.class)) {
                    add("impossible", type, method, "", String.valueOf(reason.getMessage()));
                }
            }
        });
        try {
            Files.write(Path.of(System.getProperty("comity.report")), lines);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private void add(String outcome, SmackIntegrationTestFramework.ConcreteTest test, String reason) {
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
        lines.add(String.join("\t", outcome, specification, name, reason.replaceAll("\\s+", " ")));
    }
}
