package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// blockDeviceMain is dib-block-device [--params FILE] COMMAND: it makes a disk in
// steps, one process for each, and keeps what it knows between them in JSON files
// below the build's folder.
func blockDeviceMain(ctx context.Context, args, env []string, _ io.Reader, stdout, stderr io.Writer) int {
	const name = "dib-block-device"
	flags := flagsFor(name, "[--params FILE] {init|getval SYMBOL|create|writefstab|umount|cleanup|delete}", stdout)
	file := flags.String("params", getenv(env, "DIB_BLOCK_DEVICE_PARAMS_YAML"), "YAML file of parameters")
	if err := flags.Parse(args); err != nil {
		return finish(stderr, name, usageCode(err))
	}
	command, err := blockDeviceCommand(flags.Args())
	if err == nil && *file == "" {
		err = errors.New("--params names no file, and DIB_BLOCK_DEVICE_PARAMS_YAML is not set")
	}
	if err != nil {
		return finish(stderr, name, codeError{exitUsage, err})
	}
	params, err := readBlockParams(*file)
	if err != nil {
		return finish(stderr, name, err)
	}
	params.blockSize, params.environment = getenv(env, "DIB_BLOCK_SIZE"), environmentMap(env)
	err = command(&blockDevice{blockParams: params, stdout: stdout, stderr: stderr}, ctx)
	if child := childExit(0); errors.As(err, &child) { // the second run has said why
		return int(child)
	}
	return finish(stderr, name, err)
}

// blockDevice is one call of dib-block-device.
type blockDevice struct {
	blockParams
	env            []string
	stdout, stderr io.Writer
}

type blockCommand func(b *blockDevice, ctx context.Context) error

// blockCommands take no word after their name; getval takes one.
var blockCommands = map[string]blockCommand{
	"init":       (*blockDevice).initialise,
	"create":     (*blockDevice).create,
	"writefstab": (*blockDevice).writeFstab,
	"umount":     (*blockDevice).umount,
	"cleanup":    (*blockDevice).cleanup,
	"delete":     (*blockDevice).delete,
}

func blockDeviceCommand(words []string) (blockCommand, error) {
	names := append(slices.Sorted(maps.Keys(blockCommands)), "getval")
	if len(words) == 0 {
		return nil, fmt.Errorf("no command; one of: %s", strings.Join(names, ", "))
	}
	if words[0] == "getval" {
		if len(words) != 2 {
			return nil, fmt.Errorf("getval takes one symbol: %s", strings.Join(blockSymbols(), ", "))
		}
		return getvalCommand(words[1])
	}
	command, known := blockCommands[words[0]]
	switch {
	case !known:
		return nil, fmt.Errorf("unknown command %q%s; one of: %s", words[0], didYouMean(words[0], names), strings.Join(names, ", "))
	case len(words) > 1:
		return nil, fmt.Errorf("%s takes no further word, found %q", words[0], words[1])
	}
	return command, nil
}

// blockValues are the symbols of getval: from the configuration, or from what
// create made.
var (
	configValues = map[string]func(c *blockConfig) (string, error){
		"root-label":   func(c *blockConfig) (string, error) { return c.atRoot(c.graph.RootLabel) },
		"root-fstype":  func(c *blockConfig) (string, error) { return c.atRoot(c.graph.RootFSType) },
		"boot-label":   func(c *blockConfig) (string, error) { return c.graph.BootLabel(), nil },
		"mount-points": func(c *blockConfig) (string, error) { return strings.Join(c.graph.MountPoints(), "|"), nil },
	}
	stateValues = map[string]func(s *blockState) (string, error){
		"image-path":          func(s *blockState) (string, error) { return s.image(func(n blockNode) string { return n.Image }) },
		"image-block-device":  func(s *blockState) (string, error) { return s.image(func(n blockNode) string { return n.Device }) },
		"image-block-devices": func(s *blockState) (string, error) { return s.devices(), nil },
	}
)

func blockSymbols() []string {
	return append(slices.Sorted(maps.Keys(configValues)), slices.Sorted(maps.Keys(stateValues))...)
}

func getvalCommand(symbol string) (blockCommand, error) {
	if value, ok := configValues[symbol]; ok {
		return func(b *blockDevice, _ context.Context) error {
			c, err := b.readConfig()
			if err != nil {
				return err
			}
			return b.printValue(value(c))
		}, nil
	}
	if value, ok := stateValues[symbol]; ok {
		return func(b *blockDevice, _ context.Context) error {
			s, err := b.readState()
			if err != nil {
				return err
			}
			return b.printValue(value(s))
		}, nil
	}
	return nil, fmt.Errorf("unknown symbol %q%s; one of: %s", symbol, didYouMean(symbol, blockSymbols()), strings.Join(blockSymbols(), ", "))
}

func (b *blockDevice) printValue(value string, err error) error {
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(b.stdout, value)
	return err
}
