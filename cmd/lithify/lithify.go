package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// release is the version's name; the build sets it with -ldflags -X.
var release = ""

// version is what --version prints: one line, nothing but the version.
func version() string {
	if release != "" {
		return release
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return strings.Trim(info.Main.Version, "()")
	}
	return "devel"
}

// lithifyMain is the program under its own name.
func lithifyMain(ctx context.Context, args, env []string, _ io.Reader, stdout, stderr io.Writer) int {
	root := newLithifyCommand(env, stdout, stderr)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.ExecuteContext(ctx); err != nil {
		if errors.Is(err, errDifferent) {
			return exitDifferent
		}
		if strings.HasPrefix(err.Error(), "unknown ") { // cobra has no type for these
			err = usagef("%w; lithify --help lists what there is", err)
		}
		return report(stderr, "lithify", err, buildLog{})
	}
	return exitOK
}

func newLithifyCommand(env []string, stdout, stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:           "lithify",
		Short:         "Turn elements into disk images",
		Long:          "lithify turns elements into disk images. Called by one of these names, or with one as its first argument, it is that program: disk-image-create, ramdisk-image-create, diskimage-builder, element-info, dib-run-parts, dib-lint, dib-block-device.",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	create := newCreateCommand(new(commandLine))
	create.ValidArgsFunction = completeElements(environmentMap(env)["ELEMENTS_PATH"])
	create.SetHelpFunc(func(cmd *cobra.Command, _ []string) { fmt.Fprint(cmd.OutOrStdout(), helpText(imageCommand)) })
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(create, newPlanCommand(env, stdout), newElementsCommand(env, stdout), newCacheCommand(env, stdout), newCompareCommand(stdout),
		newBlockdevCommand(env, stdout, stderr), newCompletionCommand(root, stdout), newVersionCommand(stdout))
	return root
}

func newVersionCommand(stdout io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		Run:   func(*cobra.Command, []string) { fmt.Fprintln(stdout, version()) },
	}
}
