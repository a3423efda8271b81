package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/rootfs"
	"github.com/spf13/cobra"
)

// newPlanCommand is lithify plan: what a build would do, and why.
func newPlanCommand(env []string, stdout io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:   "plan [OPTION]... ELEMENT...",
		Short: "Say what a build would do, hook by hook, and why",
		Long: "Say what disk-image-create with these options and elements would do: which steps are reused, which would run, what\n" +
			"has changed for the first that would, and how the disks are laid out. environment.d is sourced; no hook is run, and\n" +
			"the network is not asked: what the archive had last time counts.",
		DisableFlagParsing: true, // the options are those of disk-image-create
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := parseOptions(imageCommand, args, env)
			switch {
			case errors.Is(err, errHelp):
				return cmd.Help()
			case errors.Is(err, errVersion):
				_, err := fmt.Fprintln(stdout, version())
				return err
			}
			if err != nil {
				return err
			}
			if inside, err := enterSession(cmd.Context(), o.needsEmulation()); !inside {
				return err
			}
			return planMain(cmd.Context(), o, stdout, cmd.ErrOrStderr())
		},
	}
}

func planMain(ctx context.Context, o Options, stdout, stderr io.Writer) (err error) {
	o.LogFile, o.Quiet = "/dev/null", true
	u, err := newUI(o, io.Discard, stderr)
	if err != nil {
		return err
	}
	defer u.Close()
	j := &job{o: o, ui: u}
	defer func() { err = errors.Join(err, j.close()) }()
	for _, step := range []func() error{j.resolve, j.configureDisks, j.hideSecrets, j.chooseFormats, j.planProducts} {
		if err := step(); err != nil {
			return err
		}
	}
	steps, err := j.preview(ctx)
	if err != nil {
		return err
	}
	if err := printSteps(stdout, steps); err != nil {
		return err
	}
	plan, known, err := j.previewDisks(ctx, steps)
	if err != nil || plan == nil {
		return err
	}
	return printDisks(stdout, plan, known)
}

// printDisks draws the disks and lists the volumes on them.
func printDisks(w io.Writer, p *blockdev.Plan, known bool) error {
	var text strings.Builder
	for _, d := range p.Disks {
		if err := printDisk(&text, p, d, known); err != nil {
			return err
		}
	}
	if len(p.Volumes) > 0 {
		text.WriteString("\nvolumes:\n")
		if err := printVolumes(&text, p); err != nil {
			return err
		}
	}
	return writeTrimmed(w, text.String())
}

// preview opens the store and asks for the steps.
func (j *job) preview(ctx context.Context) ([]rootfs.PreviewStep, error) {
	j.o.NoTmpfs = true
	if err := j.prepare(ctx, true); err != nil {
		return nil, err
	}
	kept, err := j.store.List(ctx)
	if err != nil {
		return nil, err
	}
	var records []rootfs.Record
	for _, e := range kept {
		records = append(records, e.Record)
	}
	return j.builder.Preview(ctx, records)
}

func printSteps(w io.Writer, steps []rootfs.PreviewStep) error {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	count := map[string]int{}
	for _, s := range steps {
		count[s.Would]++
		took := ""
		if s.Kept.Took > 0 {
			took = shortDuration(s.Kept.Took)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", s.Would, stepName(s.Phase, s.Element, s.Name), took)
		for _, line := range why(s) {
			fmt.Fprintf(table, "\t  %s\t\n", line)
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if err := writeTrimmed(w, text.String()); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%d of %d steps are there", count[rootfs.WouldReuse], len(steps))
	for _, more := range []struct{ would, text string }{
		{rootfs.WouldRun, "would run"}, {rootfs.AlwaysRuns, "always run"}, {rootfs.OnTheDisk, "run on the disk"},
	} {
		if n := count[more.would]; n > 0 && err == nil {
			_, err = fmt.Fprintf(w, ", %d %s", n, more.text)
		}
	}
	if err == nil {
		_, err = fmt.Fprintln(w)
	}
	return err
}

// why are the reasons for the first step that would run, a line each.
func why(s rootfs.PreviewStep) []string {
	if s.Would != rootfs.WouldRun || s.Why == nil && !s.NewBase {
		return nil
	}
	var lines []string
	for _, c := range s.Why {
		lines = append(lines, fmt.Sprintf("%s: was %s, is %s", c.Input, short(c.Old), short(c.New)))
	}
	if s.NewBase && len(lines) == 0 {
		lines = append(lines, "it was made on another tree: the architecture, SOURCE_DATE_EPOCH, the base image, or what the archive has is not what it was")
	}
	return lines
}

// short is enough of an input to tell two apart: of a file its mode, and where a
// link leads, and the beginning of the digest.
func short(input string) string {
	words := strings.Fields(input)
	if len(words) == 0 {
		return "not there"
	}
	last := len(words) - 1
	words[last] = words[last][:min(8, len(words[last]))]
	return strings.Join(words, " ")
}

// previewDisks lays the disks out. Sizes are as they will be when the finished
// tree is there, else the least that there can be.
func (j *job) previewDisks(ctx context.Context, steps []rootfs.PreviewStep) (plan *blockdev.Plan, known bool, err error) {
	if !j.needsDisk() {
		return nil, false, nil
	}
	if err := j.lookAtDevices(); err != nil {
		return nil, false, err
	}
	j.graph.Identify("preview")
	content := leastContent(j.graph.MountPoints())
	if last := len(steps) - 1; last >= 0 && steps[last].Would == rootfs.WouldReuse {
		if err := j.buildTree(ctx); err != nil { // every step of it is there
			return nil, false, err
		}
		if content, err = j.measure(ctx); err != nil {
			return nil, false, err
		}
		known = true
	}
	plan, err = j.graph.Layout(content, j.sizes())
	return plan, known, err
}

const barWidth = 72

// printDisk draws one disk to scale.
func printDisk(w io.Writer, p *blockdev.Plan, d blockdev.DiskPlan, known bool) error {
	size := sizeText(d.Size)
	if !d.Explicit && !known {
		size = "at least " + size + ", by the content"
	}
	table := d.Label
	if table == "" {
		table = "no partition table"
	}
	place := ""
	if d.Device != "" {
		place = " on " + d.Device
	}
	if d.Directory != "" {
		place = " in " + filepath.Clean(d.Directory)
	}
	fmt.Fprintf(w, "\n%s%s: %s, %s, sectors of %d bytes\n%s\n", d.Node, place, size, table, d.SectorSize, bar(d))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, part := range d.Partitions {
		fmt.Fprintf(t, "  %d\t%s\t%s\t%s\n", part.Number, firstNonEmpty(part.Node, part.Role), sizeText(part.Size), describe(p, part.Node))
	}
	if len(d.Partitions) == 0 {
		fmt.Fprintf(t, "  %s\t%s\n", sizeText(d.Size), describe(p, d.Node))
	}
	return t.Flush()
}

// bar has a stretch for each partition, as long as its share of the disk and at
// least one character; an extended one is shown by what is in it.
func bar(d blockdev.DiskPlan) string {
	cells := []rune(strings.Repeat("·", barWidth))
	for _, part := range d.Partitions {
		if part.Role == blockdev.RoleExtended || d.Size == 0 {
			continue
		}
		from := int(part.Start * barWidth / d.Size)
		to := max(from+1, int((part.Start+part.Size)*barWidth/d.Size))
		for i := from; i < min(to, barWidth); i++ {
			cells[i] = '█'
		}
		label := []rune(fmt.Sprint(part.Number))
		if to-from >= len(label) {
			copy(cells[from:], label)
		}
	}
	if len(d.Partitions) == 0 {
		return "  [" + strings.Repeat("█", barWidth) + "]"
	}
	return "  [" + string(cells) + "]"
}

// describe says what is on a partition or disk.
func describe(p *blockdev.Plan, base string) string {
	for _, f := range p.FileSystems {
		if f.Base != base || base == "" {
			continue
		}
		text := fmt.Sprintf("%s %q", f.FSType, f.Label)
		for _, m := range p.MountsOf(f.Node) {
			text += " " + m.MountPoint
			if m.Subvolume != "" {
				text += " (subvolume " + m.Subvolume + ")"
			}
		}
		return text
	}
	return roleOn(p, base)
}
