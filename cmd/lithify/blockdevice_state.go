package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/loop"
)

// blockParams are the parameters that the build's driver writes for
// dib-block-device.
type blockParams struct {
	file      string
	values    map[string]string
	blockSize string // DIB_BLOCK_SIZE

	environment map[string]string // where passphrases may be
}

var blockParamPaths = []string{"config", "image-dir", "mount-base", "build-dir"}

// readBlockParams reads a YAML map of texts; what a word means in YAML does not
// matter: a label may be called yes or 123.
func readBlockParams(file string) (blockParams, error) {
	text, err := readSmall(file, mib)
	if err != nil {
		return blockParams{}, fmt.Errorf("reading the parameters: %w", err)
	}
	root, err := readYAMLTree([]byte(text))
	if err != nil {
		return blockParams{}, fmt.Errorf("%s: %w", file, err)
	}
	if root.kind != yamlMap {
		return blockParams{}, fmt.Errorf("%s: %s, want a map of parameters", file, root.found())
	}
	p := blockParams{file: file, values: map[string]string{}}
	for i, key := range root.keys {
		switch v := root.items[i]; v.kind {
		case yamlText, yamlWord:
			p.values[key.name] = v.text
			if isPath := slices.Contains(blockParamPaths, key.name); isPath && v.text != "" {
				// The next call may be from another folder.
				if p.values[key.name], err = filepath.Abs(v.text); err != nil {
					return blockParams{}, fmt.Errorf("%s: %s: %w", file, key.name, err)
				}
			}
		case yamlNothing: // as if it were not there
		default:
			return blockParams{}, fmt.Errorf("%s: line %d: %s: %s, want a text", file, key.line, key.name, v.found())
		}
	}
	return p, nil
}

// need is a parameter that has no default.
func (p blockParams) need(name string) (string, error) {
	if v := p.values[name]; v != "" {
		return v, nil
	}
	return "", fmt.Errorf("%s: the parameter %q is missing", p.file, name)
}

// Names of the files of state.
const (
	blockConfigFile = "config.json" // what init read
	blockStateFile  = "state.json"  // what create made, for getval
	blockNodesFile  = "nodes.json"  // what umount, cleanup and delete need
)

func (p blockParams) stateDir() (string, error) {
	dir, err := p.need("build-dir")
	return filepath.Join(dir, "states/block-device"), err
}

func (p blockParams) save(name string, v any) error {
	dir, err := p.stateDir()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("keeping the state: %w", err)
	}
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("keeping the state: %w", err)
	}
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file+".new", append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("keeping the state: %w", err)
	}
	return os.Rename(file+".new", file)
}

// load reads a file of state; missing is what to say when it is not there.
func (p blockParams) load(name, missing string, v any) error {
	dir, err := p.stateDir()
	if err != nil {
		return err
	}
	file := filepath.Join(dir, name)
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", missing, err)
	}
	if err != nil {
		return fmt.Errorf("reading the state: %w", err)
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("reading the state in %q: %w", file, err)
	}
	return nil
}

// blockConfig is what init read: the configuration, and what it leaves to the
// parameters.
type blockConfig struct {
	Source      string   `json:"source"` // of the text, for messages
	Text        string   `json:"config"`
	RootFSType  string   `json:"root-fs-type,omitempty"`
	RootLabel   string   `json:"root-label,omitempty"`
	RootOptions []string `json:"root-fs-opts,omitempty"`
	BlockSize   int      `json:"block-size,omitempty"`
	Seed        string   `json:"seed"` // of all ids of the disk

	graph *blockdev.Graph
}

// newConfig reads the configuration that the parameters name.
func (p blockParams) newConfig() (*blockConfig, error) {
	file, err := p.need("config")
	if err != nil {
		return nil, err
	}
	c := &blockConfig{Source: file, RootFSType: p.values["root-fs-type"], RootLabel: p.values["root-label"], Seed: rand.Text()}
	if c.Text, err = readSmall(file, mib); err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	if c.RootOptions, err = blockdev.SplitWords(p.values["root-fs-opts"]); err != nil {
		return nil, fmt.Errorf("%s: root-fs-opts: %w", p.file, err)
	}
	if c.BlockSize, err = sectorSize(p.blockSize); err != nil {
		return nil, err
	}
	return c, c.link()
}

func (p blockParams) readConfig() (*blockConfig, error) {
	c := &blockConfig{}
	if err := p.load(blockConfigFile, "dib-block-device init has not been called", c); err != nil {
		return nil, err
	}
	return c, c.link()
}

func (c *blockConfig) link() error {
	config, err := blockdev.Parse([]byte(c.Text))
	if err != nil {
		return fmt.Errorf("%s: %w", c.Source, err)
	}
	c.graph, err = config.Graph(blockdev.Defaults{
		RootFSType: c.RootFSType, RootLabel: c.RootLabel, RootOptions: c.RootOptions, BlockSize: c.BlockSize,
	})
	if err != nil {
		return fmt.Errorf("%s: %w", c.Source, err)
	}
	c.graph.Identify(c.Seed)
	return nil
}

func (c *blockConfig) atRoot(value func() string) (string, error) {
	if _, err := c.graph.Root(); err != nil {
		return "", err
	}
	return value(), nil
}

// blockState is what scripts may ask for.
type blockState struct {
	Root       string               `json:"root"` // the disk that carries /
	Blockdev   map[string]blockNode `json:"blockdev"`
	Order      []string             `json:"order"` // of Blockdev
	MountOrder []string             `json:"mount_order"`
}

type blockNode struct {
	Device string `json:"device"`
	Image  string `json:"image,omitempty"`
}

func (p blockParams) readState() (*blockState, error) {
	s := &blockState{}
	return s, p.load(blockStateFile, "State dump not found", s)
}

// image is image0's value, or that of the disk that carries /.
func (s *blockState) image(value func(blockNode) string) (string, error) {
	for _, name := range []string{"image0", s.Root} {
		if n, ok := s.Blockdev[name]; ok {
			return value(n), nil
		}
	}
	return "", errors.New("no image was created")
}

func (s *blockState) devices() string {
	var b strings.Builder
	for _, name := range s.Order {
		fmt.Fprintf(&b, " [%s]=%s ", name, s.Blockdev[name].Device)
	}
	return b.String()
}

// blockNodes is what was created and is there until cleanup or delete.
type blockNodes struct {
	Kept      loop.Kept   `json:"kept"`
	Staged    *stagedDisk `json:"staged,omitempty"` // by back end file
	Unmounted bool        `json:"unmounted"`        // and detached, or written
}
