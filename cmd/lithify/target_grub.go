package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lithify/lithify/blockdev/boot"
)

// bootPlan is where a target finds what boot.LayoutOf told the driver.
const bootPlan = "/dev/lithify/data/plan.json"

// grubCommand finds the stand-in for one of GRUB's tools. These are bound over
// the target's own files and must not be linked into PATH: a target without
// GRUB has none of them.
func grubCommand(name string) (program, bool) {
	if !slices.Contains(boot.Commands(), strings.Replace(name, "grub2-", "grub-", 1)) {
		return nil, false
	}
	return func(ctx context.Context, args, _ []string, _ io.Reader, stdout, stderr io.Writer) int {
		return runGrub(ctx, name, args, stdout, stderr)
	}, true
}

// runGrub answers as the tool itself does: errors in its form, exit code 1.
func runGrub(ctx context.Context, name string, args []string, stdout, stderr io.Writer) int {
	layout, err := readBootPlan()
	if err == nil {
		err = boot.Run(ctx, name, boot.Env{Layout: layout, Stdout: stdout, Stderr: stderr}, args)
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: error: %v\n", filepath.Base(name), err)
		return 1
	}
	return 0
}

func readBootPlan() (boot.Layout, error) {
	text, err := os.ReadFile(bootPlan)
	if err != nil {
		return boot.Layout{}, fmt.Errorf("reading the plan of the disk: %w", err)
	}
	var layout boot.Layout
	if err := json.Unmarshal(text, &layout); err != nil {
		return boot.Layout{}, fmt.Errorf("reading the plan of the disk %q: %w", bootPlan, err)
	}
	return layout, nil
}
