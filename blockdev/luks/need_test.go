package luks

import (
	"os"
	"os/exec"
	"testing"
)

// need is blockdevtest.Need, which a test inside this package cannot import.
func need(t testing.TB, tool string) {
	t.Helper()
	if _, err := exec.LookPath(tool); err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal(tool + " is not there")
	}
	t.Skip(tool + " is not there")
}
