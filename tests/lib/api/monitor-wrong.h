/* Every field of a VMMonitor wrong in turn. */
static const struct wrong wrongs[] = {
    {"apiVersion: yagura.dev/v1alpha1", "apiVersion: v1",
     "m.yaml:1:13: apiVersion: expected yagura.dev/v1alpha1, found \"v1\""},
    {"apiVersion: yagura.dev/v1alpha1\n", "", "m.yaml:1:1: \"apiVersion\" is required"},
    {"kind: VMMonitor", "kind: Pod", "m.yaml:2:7: kind: expected VMMonitor, found \"Pod\""},
    {"spec:", "specs:", "m.yaml:9:3: specs: unknown field, did you mean \"spec\"?"},
    {"  name: base\n", "", "m.yaml:4:3: metadata: \"name\" is required"},
    {"name: base", "name: Base",
     "m.yaml:4:9: metadata.name: expected a name of lower case letters, digits, '-' and '.', such as web-3, "
     "found \"Base\""},
    {"name: base", "name: 12", "m.yaml:4:9: metadata.name: expected a string (quote it), found 12"},
    {"namespace: default", "namespace: a.b",
     "m.yaml:5:14: metadata.namespace: expected a namespace of lower case letters, digits and '-', such as "
     "default, found \"a.b\""},
    {"generation: 3", "generation: 0",
     "m.yaml:6:15: metadata.generation: expected a whole number from 1 to 9223372036854775807, found 0"},
    {"labels: {team: blue}", "labels: [blue]",
     "m.yaml:7:11: metadata.labels: expected a mapping, found a list"},
    {"labels: {team: blue}", "labels: {te am: blue}",
     "m.yaml:7:19: metadata.labels.te am: expected a label key such as app or example.org/app, found \"te "
     "am\""},
    {"labels: {team: blue}", "label: {team: blue}",
     "m.yaml:7:10: metadata.label: unknown field, did you mean \"labels\"?"},
    {"suspend: false", "suspend: 0", "m.yaml:9:12: spec.suspend: expected true or false, found 0"},
    {"suspend: false", "suspended: false",
     "m.yaml:9:14: spec.suspended: unknown field, did you mean \"suspend\"?"},
    {"matchLabels: {app: web}", "matchLabels: {app: 1}",
     "m.yaml:11:24: spec.vmSelector.matchLabels.app: expected a string (quote it), found 1"},
    {"matchLabels: {app: web}", "matchLabels: {app.io/x: -web}",
     "m.yaml:11:29: spec.vmSelector.matchLabels[app.io/x]: expected a label value (letters, digits, '-', "
     "'_', "
     "'.'; alphanumeric at both ends), found \"-web\""},
    {"matchLabels: {app: web}", "matchlabel: {app: web}",
     "m.yaml:11:17: spec.vmSelector.matchlabel: unknown field, did you mean \"matchLabels\"?"},
    {"key: env, ", "", "m.yaml:13:7: spec.vmSelector.matchExpressions[0]: \"key\" is required"},
    {"key: env", "key: a/b/c",
     "m.yaml:13:13: spec.vmSelector.matchExpressions[0].key: expected a label key such as app or "
     "example.org/app, found \"a/b/c\""},
    {"operator: In", "operator: in",
     "m.yaml:13:28: spec.vmSelector.matchExpressions[0].operator: expected In, NotIn, Exists or "
     "DoesNotExist, "
     "found \"in\""},
    {", values: [prod]", "",
     "m.yaml:13:7: spec.vmSelector.matchExpressions[0]: \"values\" is required with In and NotIn"},
    {"operator: In", "operator: Exists",
     "m.yaml:13:44: spec.vmSelector.matchExpressions[0].values: expected no values with Exists and "
     "DoesNotExist"},
    {"values: [prod]", "values: [a b]",
     "m.yaml:13:41: spec.vmSelector.matchExpressions[0].values[0]: expected a label value, found \"a b\""},
    {"name: exec", "name: Exec",
     "m.yaml:15:11: spec.apps[0].name: expected a name of lower case letters, digits and '-', found "
     "\"Exec\""},
    {"name: open", "name: exec", "m.yaml:21:11: spec.apps[1].name: \"exec\" is already the name of apps[0]"},
    {"    program: opensnoop\n", "", "m.yaml:21:5: spec.apps[1]: \"program\" is required"},
    {"program: execsnoop", "program: /usr/sbin/execsnoop",
     "m.yaml:16:14: spec.apps[0].program: expected the name of a program in the catalogue, not a path, "
     "found "
     "\"/usr/sbin/execsnoop\""},
    {"program: execsnoop", "programm: execsnoop",
     "m.yaml:16:15: spec.apps[0].programm: unknown field, did you mean \"program\"?"},
    {"args: [\"-x\"]", "args: -x", "m.yaml:17:11: spec.apps[0].args: expected a list, found \"-x\""},
    {"args: [\"-x\"]", "args: [-5]",
     "m.yaml:17:12: spec.apps[0].args[0]: expected a string (quote it), found -5"},
    {"args: [\"-x\"]", "args: [\"a\\nb\"]",
     "m.yaml:17:12: spec.apps[0].args[0]: expected a string without control characters"},
    {"delivery: Copied", "delivery: Fast",
     "m.yaml:18:15: spec.apps[0].delivery: expected Auto, Shared, Copied or Stream, found \"Fast\""},
    {"restartPolicy: Never", "restartPolicy: never",
     "m.yaml:19:20: spec.apps[0].restartPolicy: expected Always, OnFailure or Never, found \"never\""},
    {"memory: 32Mi", "memory: 32MB",
     "m.yaml:20:22: spec.apps[0].limits.memory: expected a quantity above zero such as 64Mi, 1.5G or 200m, "
     "found \"32MB\""},
    {"memory: 32Mi", "memory: 0",
     "m.yaml:20:22: spec.apps[0].limits.memory: expected a quantity above zero such as 64Mi, 1.5G or 200m, "
     "found 0"},
    {"cpu: 100m", "cpu: true",
     "m.yaml:20:33: spec.apps[0].limits.cpu: expected a quantity above zero such as 64Mi, 1.5G or 200m, "
     "found "
     "true"},
    {"eventsPerSecond: 10", "eventsPerSecond: 0",
     "m.yaml:20:56: spec.apps[0].limits.eventsPerSecond: expected a whole number from 1 to 1000000, found "
     "0"},
    {"eventsPerSecond: 10", "eventPerSecond: 10",
     "m.yaml:20:55: spec.apps[0].limits.eventPerSecond: unknown field, did you mean \"eventsPerSecond\"?"},
    {"schedule: \"*/5 * * * *\"", "schedule: \"every minute\"",
     "m.yaml:26:15: spec.idsJobs[0].schedule: expected five fields of cron such as */5 * * * *, found "
     "\"every "
     "minute\""},
    {"timeoutSeconds: 30", "timeoutSeconds: 86401",
     "m.yaml:27:21: spec.idsJobs[0].timeoutSeconds: expected a whole number from 1 to 86400, found 86401"},
    {"runtime: Sandbox", "runtime: TDX",
     "m.yaml:28:24: spec.idsJobs[0].enclave.runtime: expected Auto, SGX or Sandbox, found \"TDX\""},
    {"requireTEE: true", "requireTEE: maybe",
     "m.yaml:28:45: spec.idsJobs[0].enclave.requireTEE: expected true or false, found \"maybe\""},
    {"onExitCodes: [1, 2]", "onExitCodes: [256]",
     "m.yaml:29:30: spec.idsJobs[0].findings.onExitCodes[0]: expected a whole number from 1 to 255, found "
     "256"},
    {"onChange: true", "onChange: null, onchange: true",
     "m.yaml:29:63: spec.idsJobs[0].findings.onchange: unknown field, did you mean \"onChange\"?"},
};
