package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/lithify/lithify/blockdev"
	"github.com/spf13/cobra"
)

const blockdevPlanLong = `Read a block-device configuration (YAML or JSON, as DIB_BLOCK_DEVICE_CONFIG holds it; - is standard input) and say what
would be made: the graph, each disk, partition, array, volume group, logical volume, encrypted volume and file system with
its size, and the fstab and crypttab. Nothing is made, and no passphrase is read.

Options and variables (FS_TYPE, DIB_RELEASE, DIB_BLOCK_SIZE and those of the options) are disk-image-create's. Sizes that
depend on the content are the least possible, unless --from names a folder to measure; mount points that it lacks count as
empty.

Mistakes are those of a build, with file, line and key.`

const blockdevPlanExample = `  lithify blockdev plan disk.yaml
  lithify blockdev plan --from tree --image-size 5GiB disk.yaml
  lithify blockdev plan --json - < disk.yaml | jq '.plan.disks[].size'`

// blockdevPlan is one call of lithify blockdev plan. What is exported is its JSON.
type blockdevPlan struct {
	Configuration string              `json:"configuration"` // the file
	Backend       string              `json:"backend"`
	Measured      bool                `json:"measured"`        // else computed sizes are the least possible
	Tools         []string            `json:"tools,omitempty"` // of the host, that make file systems
	Nodes         []blockdev.NodeInfo `json:"nodes"`           // bases first
	Plan          *blockdev.Plan      `json:"plan"`            // without the ids that a build derives from the content
	Crypttab      string              `json:"crypttab,omitempty"`
	Mdadm         string              `json:"mdadm,omitempty"` // lines of mdadm.conf

	job  *job
	from string
	json bool
}

func newBlockdevPlanCommand(env []string, stdout io.Writer) *cobra.Command {
	p := &blockdevPlan{}
	line := &commandLine{}
	cmd := &cobra.Command{
		Use:     "plan [OPTION]... FILE",
		Short:   "Say how the disks of a configuration would be laid out",
		Long:    blockdevPlanLong,
		Example: blockdevPlanExample,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("name one configuration, found %d; - is standard input", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := p.read(env, line, args[0], cmd.InOrStdin()); err != nil {
				return err
			}
			if err := p.make(cmd.Context()); err != nil {
				return err
			}
			return p.print(stdout)
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		},
	}
	cmd.Flags().StringVarP(&p.from, "from", "d", "", "the folder that the disks would be filled from")
	cmd.Flags().BoolVar(&p.json, "json", false, "print JSON")
	for _, o := range sizeOptions() {
		addFlag(cmd.Flags(), o, line)
	}
	_ = cmd.RegisterFlagCompletionFunc("backend", cobra.FixedCompletions([]string{"auto", "loop", "file"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// read reads options, variables and the configuration.
func (p *blockdevPlan) read(env []string, line *commandLine, file string, stdin io.Reader) error {
	o := defaultOptions(imageCommand, nil, env)
	for _, s := range sizeOptions() {
		given := slices.ContainsFunc(line.given, func(g occurrence) bool { return g.option.long == s.long })
		if v := o.Environment[s.env]; s.env != "" && v != "" && !given {
			if err := s.set(&o, s.env, v); err != nil {
				return err
			}
		}
	}
	for _, read := range []func(*Options) error{readFSType, readBlockSize, readEpoch} {
		if err := read(&o); err != nil {
			return err
		}
	}
	for _, g := range line.given {
		if err := g.option.set(&o, g.where, g.value); err != nil {
			return err
		}
	}
	if err := applyReproducible(&o); err != nil {
		return err
	}
	var err error
	if o.BlockDeviceConfig, err = readConfigText(file, stdin); err != nil {
		return usagef("reading the configuration: %w", err)
	}
	o.BlockDeviceSource = file
	if file == "-" {
		o.BlockDeviceSource = "standard input"
	}
	p.Configuration, p.job = o.BlockDeviceSource, &job{o: o}
	return nil
}

func readConfigText(file string, stdin io.Reader) (string, error) {
	if file != "-" {
		return readSmall(file, mib)
	}
	text, err := io.ReadAll(io.LimitReader(stdin, mib+1))
	if err == nil && int64(len(text)) > mib {
		err = fmt.Errorf("more than %s", sizeText(mib))
	}
	return string(text), err
}

// make plans as a build does, up to where it would begin to write.
func (p *blockdevPlan) make(ctx context.Context) error {
	j := p.job
	if strings.TrimSpace(j.o.BlockDeviceConfig) == "" { // what a build takes for none
		return usagef("%s: the configuration is empty", p.Configuration)
	}
	if err := j.configureDisks(); err != nil {
		return err
	}
	if err := errors.Join(j.checkRepeats(), j.checkBackend(ctx)); err != nil {
		return err
	}
	if p.Backend = "file"; j.byLoop() {
		p.Backend = "loop"
	}
	if err := j.lookAtDevices(); err != nil {
		return err
	}
	content, err := p.content(ctx)
	if err != nil {
		return err
	}
	j.graph.Identify("preview")
	plan, err := j.graph.Layout(content, j.sizes())
	if err != nil {
		return fmt.Errorf("%s: %w", p.Configuration, err)
	}
	j.graph.ForgetIDs(plan)
	p.Plan, p.Nodes, p.Tools = plan, j.graph.List(), j.diskTools()
	p.Crypttab, p.Mdadm = j.graph.Crypttab(), j.graph.MdadmArrays()
	return nil
}

// content is what the folder holds; without one the least that there can be.
func (p *blockdevPlan) content(ctx context.Context) (map[string]blockdev.Content, error) {
	mounts := p.job.graph.MountPoints()
	if p.from == "" {
		return leastContent(mounts), nil
	}
	if st, err := os.Stat(p.from); err != nil || !st.IsDir() {
		if err == nil {
			err = fmt.Errorf("%q is no folder", p.from)
		}
		return nil, usagef("--from: %w", err)
	}
	p.Measured = true
	return blockdev.MeasureUnprepared(ctx, p.from, mounts)
}

// leastContent gives every mount point a file, so that the size of each disk can
// be computed.
func leastContent(mountPoints []string) map[string]blockdev.Content {
	all := map[string]blockdev.Content{}
	for _, at := range mountPoints {
		all[at] = blockdev.Content{Inodes: 2, Dirs: 1, Bytes: 8192}
	}
	return all
}

func (p *blockdevPlan) print(w io.Writer) error {
	if !p.json {
		var text strings.Builder
		if err := p.text(&text); err != nil {
			return err
		}
		return writeTrimmed(w, text.String())
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(p)
}
