package elements

import (
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// need skips a test for lack of a program on a laptop; under CI it fails.
func need(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("this test needs %s: %v", program, err)
	}
	t.Skipf("this test needs %s: %v", program, err)
	return ""
}

func TestEligible(t *testing.T) {
	for _, c := range []struct {
		name string
		mode fs.FileMode
		want bool
	}{
		{"10-x", 0o755, true}, {"10_X", 0o500, true}, {"x", 0o001, true}, {"-x", 0o755, true},
		{"10-x", 0o644, false}, {"10-x.sh", 0o755, false}, {"10-x~", 0o755, false}, {"", 0o755, false},
		{"10-x", fs.ModeDir | 0o755, false}, {"10-x", fs.ModeSymlink | 0o777, false}, {"é", 0o755, false},
		{"10-x\n", 0o755, false},
	} {
		if got := Eligible(c.name, c.mode, nil); got != c.want {
			t.Errorf("Eligible(%q, %v) = %v", c.name, c.mode, got)
		}
	}
	if !Eligible("10-x.sh", 0o755, regexp.MustCompile(`\.sh$`)) {
		t.Error("a rule of the user's does not hold")
	}
}

func TestLess(t *testing.T) {
	want := strings.Fields("-z _z a b 00-z 0-a 9-x 09-y 10-a 10-b 100-a 99999999999999999999999-x")
	slices.SortFunc(want, compareHooks)
	if !slices.IsSortedFunc(want, func(a, b string) int {
		if Less(a, b) {
			return -1
		}
		return 1
	}) {
		t.Errorf("not sorted: %q", want)
	}
	if !Less("9-x", "10-y") || !Less("z", "1-a") || Less("10-b", "10-a") {
		t.Error("order of numbers")
	}
}

// TestLessIsSortN lets sort(1) judge a thousand random names.
func TestLessIsSortN(t *testing.T) {
	sort := need(t, "sort")
	const letters = "0000123459-_ab.-"
	random := rand.New(rand.NewPCG(1, 2))
	var names []string
	for range 1000 {
		name := make([]byte, 1+random.IntN(6))
		for i := range name {
			name[i] = letters[random.IntN(len(letters))]
		}
		names = append(names, string(name))
	}
	cmd := exec.Command(sort, "-n")
	cmd.Env = []string{"LC_ALL=C"}
	cmd.Stdin = strings.NewReader(strings.Join(names, "\n") + "\n")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(names, compareHooks)
	if want := strings.Fields(string(out)); !slices.Equal(names, want) {
		t.Errorf("got  %q\nwant %q", names, want)
	}
}
