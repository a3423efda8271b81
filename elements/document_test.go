package elements

import (
	"strings"
	"testing"
)

// TestNestingIsLimited: without the limit the first of these takes a minute
// and a half.
func TestNestingIsLimited(t *testing.T) {
	for _, part := range []string{"[", "{a: ", "- ", "? ", "!!x ", "&a ", "[\n", `{"a":`, "[[[]"} {
		if _, err := parseDocument([]byte(strings.Repeat(part, 20000))); err == nil || !strings.Contains(err.Error(), errTooDeep.Error()) {
			t.Errorf("%q: got %v", part, err)
		}
	}
	deep := strings.Repeat("[", deepest+1) + strings.Repeat("]", deepest+1)
	for _, text := range []string{deep, "# YAML\n" + deep} {
		if _, err := parseDocument([]byte(text)); err == nil || !strings.Contains(err.Error(), errTooDeep.Error()) {
			t.Errorf("%q: got %v", text, err)
		}
	}
	var block strings.Builder
	for i := range 300 {
		block.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	if _, err := parseDocument([]byte(block.String())); err == nil {
		t.Error("300 levels of indentation were accepted")
	}
}

func TestLongFilesAreFine(t *testing.T) {
	long := strings.Repeat("p: {arch: 'a, b'} # [x\n", 1)
	for i := range 2000 {
		long += "package-" + string(rune('a'+i%26)) + strings.Repeat("x", i/26) + ": [{phase: install.d}, {build-only: true}]\n"
	}
	if entries, err := parsePackageInstalls([]byte(long)); err != nil || len(entries) != 4001 {
		t.Errorf("got %d, %v", len(entries), err)
	}
}
