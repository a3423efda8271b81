package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"
)

// imageBuilderMain is diskimage-builder: it builds the images that YAML files
// list, each by the program that one would type.
func imageBuilderMain(ctx context.Context, args, env []string, stdin io.Reader, stdout, stderr io.Writer) int {
	const name = "diskimage-builder"
	flags := pflag.NewFlagSet(name, pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() { io.WriteString(stdout, imageBuilderHelp(flags)) }
	dryRun := flags.Bool("dry-run", false, "print the commands and run none")
	stop := flags.Bool("stop-on-failure", false, "start no further image after one that failed")
	jobs := flags.Int("jobs", 1, "how many images to build at once")
	if err := flags.Parse(args); err != nil {
		return finish(stderr, name, usageCode(err))
	}
	switch {
	case flags.NArg() == 0:
		return finish(stderr, name, codeError{exitUsage, errors.New("name at least one file with a list of images")})
	case *jobs < 1:
		return finish(stderr, name, codeError{exitUsage, fmt.Errorf("--jobs %d: at least 1 is wanted", *jobs)})
	}
	images, err := readImages(flags.Args())
	if err != nil {
		return finish(stderr, name, err)
	}
	if *dryRun {
		for _, image := range images {
			announce(stderr, image.shellText(environmentMap(env), false))
		}
		return exitOK
	}
	self, err := os.Executable()
	if err != nil {
		return finish(stderr, name, fmt.Errorf("finding this program: %w", err))
	}
	r := imageRun{self: self, env: env, stdin: stdin, stdout: stdout, stderr: stderr, jobs: *jobs, stop: *stop}
	err = r.run(ctx, images)
	if ctx.Err() != nil {
		err = interrupted{cause: context.Cause(ctx), err: err}
		return finish(stderr, name, codeError{exitCode(err), err})
	}
	return finish(stderr, name, err)
}

// announce tells what is run, as it could be typed.
func announce(w io.Writer, command string) { fmt.Fprintf(w, "%s\n\n", command) }

func readImages(files []string) ([]imageEntry, error) {
	var texts []imageText
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading a list of images: %w", err)
		}
		texts = append(texts, imageText{file, data})
	}
	return parseImages(texts)
}

func imageBuilderHelp(flags *pflag.FlagSet) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: diskimage-builder [OPTION]... FILE...\n\n%s", flags.FlagUsages())
	b.WriteString("\nEach FILE is a list of images in YAML. Entries of one imagename, in all files, are one image:\nlists grow, maps are updated, other values are replaced. Keys:\n\n")
	for _, k := range imageKeys {
		help := k.help
		if k.words != nil {
			help += ": " + strings.Join(k.words(), ", ")
		}
		fmt.Fprintf(&b, "  %-18s %s (%s)\n", k.name, help, strings.TrimSpace(string(k.kind)))
	}
	return b.String()
}
