package guest

import (
	"os"
	"os/exec"
	"testing"
)

// Need skips the test where a tool is missing, and fails it under CI=true.
func Need(t testing.TB, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			Missing(t, tool+" is not there")
		}
	}
}

// NeedRoot skips the test for others than root, and fails it under CI=true.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		Missing(t, "not root")
	}
}

// Missing skips, or fails under CI=true. The environment is read here, and by no
// caller under cmd/, since the callers are tests: go test has no other way to say
// where they run.
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
}
