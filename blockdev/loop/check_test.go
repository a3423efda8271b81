package loop_test

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/loop"
)

func graphOf(t *testing.T, config string) *blockdev.Graph {
	t.Helper()
	c, err := blockdev.Parse([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	g, err := c.Graph(blockdev.Defaults{})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// TestCheck: what Check says of the device mapper and of md is what their own
// programs find.
func TestCheck(t *testing.T) {
	blockdevtest.NeedRoot(t)
	blockdevtest.Need(t, "dmsetup", "mdadm", "cryptsetup", "lvm")
	if err := loop.Check(t.Context(), graphOf(t, everyKind)); err != nil {
		t.Errorf("without volumes: %v", err)
	}
	err := loop.Check(t.Context(), graphOf(t, quickLayout))
	mapper := exec.Command("dmsetup", "targets").Run() == nil
	if said := err != nil && strings.Contains(err.Error(), "no device mapper"); said == mapper {
		t.Errorf("dmsetup works: %v; Check says %v", mapper, err)
	}
	var missing *loop.MissingError
	if err != nil && !errors.As(err, &missing) {
		t.Errorf("%T: %v", err, err)
	}
	t.Setenv("PATH", t.TempDir())
	if err := loop.Check(t.Context(), graphOf(t, strings.Replace(quickLayout, "iterations: 1000", "seed_env: SEED", 1))); err == nil || !strings.Contains(err.Error(), `"crypt": a seed is given`) {
		t.Errorf("with a seed: %v", err)
	}
}
