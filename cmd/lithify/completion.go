package main

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/lithify/lithify/elements"
	"github.com/spf13/cobra"
)

// isCompletion says whether a shell's completion script is asking.
func isCompletion(word string) bool {
	return word == cobra.ShellCompRequestCmd || word == cobra.ShellCompNoDescRequestCmd
}

// completeMain answers a completion script for disk-image-create.
func completeMain(ctx context.Context, args, env []string, stdout, stderr io.Writer) int {
	cmd := newCreateCommand(new(commandLine))
	cmd.ValidArgsFunction = completeElements(environmentMap(env)["ELEMENTS_PATH"])
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	if err := cmd.ExecuteContext(ctx); err != nil {
		return report(stderr, "disk-image-create", err, buildLog{})
	}
	return exitOK
}

// newCompletionCommand prints completion scripts, for lithify and for
// disk-image-create together.
func newCompletionCommand(root *cobra.Command, stdout io.Writer) *cobra.Command {
	write := map[string]func(*cobra.Command) error{
		"bash": func(c *cobra.Command) error { return c.GenBashCompletionV2(stdout, true) },
		"zsh":  func(c *cobra.Command) error { return c.GenZshCompletion(stdout) },
		"fish": func(c *cobra.Command) error { return c.GenFishCompletion(stdout, true) },
	}
	return &cobra.Command{
		Use:       "completion bash|zsh|fish",
		Short:     "Print a completion script for lithify and disk-image-create",
		Long:      "Print a completion script for lithify and disk-image-create. For bash, in the shell's start-up file: source <(lithify completion bash)",
		ValidArgs: []string{"bash", "zsh", "fish"},
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || write[args[0]] == nil {
				return usagef("name one shell: bash, zsh or fish")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			return errors.Join(write[args[0]](root), write[args[0]](newCreateCommand(new(commandLine))))
		},
	}
}

// addCompletions says what may follow where cobra cannot know it.
func addCompletions(cmd *cobra.Command) {
	words := func(list ...string) cobra.CompletionFunc {
		return cobra.FixedCompletions(list, cobra.ShellCompDirectiveNoFileComp)
	}
	for flag, complete := range map[string]cobra.CompletionFunc{
		"formats":      completeFormats,
		"arch":         words(hostArch()),
		"backend":      words("auto", "loop", "file"),
		"install-type": words("source", "package"),
		"image-cache": func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
	} {
		if err := cmd.RegisterFlagCompletionFunc(flag, complete); err != nil {
			panic(err) // the flag is not in the table
		}
	}
}

// completeElements names the elements that a build would find.
func completeElements(path string) cobra.CompletionFunc {
	return func(_ *cobra.Command, chosen []string, _ string) ([]string, cobra.ShellCompDirective) {
		library, err := elements.Open(path)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		names := slices.DeleteFunc(library.Names(), func(n string) bool { return slices.Contains(chosen, n) })
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeFormats completes the last word of a list.
func completeFormats(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	before := typed[:strings.LastIndexByte(typed, ',')+1]
	var lists []string
	for _, name := range formatNames() {
		if !slices.Contains(splitList(before), name) {
			lists = append(lists, before+name)
		}
	}
	return lists, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}
