package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/lithify/lithify/elements"
	"github.com/spf13/cobra"
)

// newElementsCommand is lithify elements: what there is to build with.
func newElementsCommand(env []string, stdout io.Writer) *cobra.Command {
	path := environmentMap(env)["ELEMENTS_PATH"]
	root := &cobra.Command{
		Use:   "elements",
		Short: "Show the elements that a build would find",
		Long:  "Show the elements that a build would find: those in the folders of ELEMENTS_PATH, then the built-in ones.",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.AddCommand(
		elementsCommand(path, "list", "List all of them", cobra.NoArgs,
			func(l elements.Library, _ []string) error { return listElements(stdout, l) }),
		elementsCommand(path, "show NAME", "Tell what an element is, needs, runs and reads", wantElements(1),
			func(l elements.Library, names []string) error { return showElement(stdout, l, names[0]) }),
		elementsCommand(path, "deps NAME...", "Draw what elements need as a tree", wantElements(100_000),
			func(l elements.Library, names []string) error { return drawDependencies(stdout, l, names) }),
	)
	return root
}

func elementsCommand(path, use, short string, args cobra.PositionalArgs, do func(elements.Library, []string) error) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Args: args,
		RunE: func(_ *cobra.Command, names []string) error {
			library, err := elements.Open(path)
			if err != nil {
				return usagef("%w", err)
			}
			return do(library, names)
		},
	}
	if strings.Contains(use, " ") {
		cmd.ValidArgsFunction = completeElements(path)
	}
	return cmd
}

func wantElements(most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 || len(args) > most {
			return usagef("name %s: lithify elements %s", map[bool]string{true: "one element", false: "at least one element"}[most == 1], cmd.Use)
		}
		return nil
	}
}

// origin is where an element lies, for people.
func origin(e elements.Element) string {
	if e.Builtin {
		return "built in"
	}
	return e.Path
}

func listElements(w io.Writer, l elements.Library) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "NAME\tWHERE\tWHAT")
	for _, name := range l.Names() {
		e, err := l.Find(name)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s\t%s\t%s\n", name, origin(e), firstSentence(readmeOf(e).paragraph))
	}
	return out.Flush()
}

func firstSentence(text string) string {
	if i := strings.Index(text, ". "); i >= 0 {
		text = text[:i]
	}
	runes := []rune(strings.TrimSuffix(text, "."))
	if len(runes) > 100 {
		return string(runes[:99]) + "…"
	}
	return string(runes)
}

func showElement(w io.Writer, l elements.Library, name string) error {
	e, err := l.Find(name)
	if err != nil {
		return err
	}
	tree, err := elements.Merge([]elements.Element{e})
	if err != nil {
		return err
	}
	readme := readmeOf(e)
	out := bufio.NewWriter(w)
	fmt.Fprintln(out, name)
	if readme.paragraph != "" {
		fmt.Fprintf(out, "\n%s\n", readme.paragraph)
	}
	fmt.Fprintf(out, "\nWhere: %s\n", origin(e))
	for _, hidden := range l.Shadowed(name) {
		fmt.Fprintf(out, "Hides: %s\n", hidden)
	}
	showList(out, "Needs", e.Deps)
	showList(out, "Provides", e.Provides)
	for _, f := range showHooks(tree) {
		fmt.Fprintln(out, f)
	}
	variables := readme.variables
	if len(variables) == 0 {
		variables = variablesIn(tree)
	}
	showVariables(out, variables)
	return out.Flush()
}

func showList(w io.Writer, title string, words []string) {
	if len(words) > 0 {
		fmt.Fprintf(w, "%s: %s\n", title, strings.Join(words, ", "))
	}
}

// showHooks lists the hooks phase by phase, then what else the element brings.
func showHooks(tree *elements.Tree) []string {
	var lines []string
	hooks := map[string]bool{}
	for _, phase := range elements.Phases() {
		var names []string
		for _, h := range tree.Hooks(phase) {
			names = append(names, h.Name)
			hooks[h.Path] = true
		}
		if len(names) == 0 {
			continue
		}
		where := "inside the image"
		if phase.Outside() {
			where = "on this machine"
		}
		lines = append(lines, fmt.Sprintf("  %s (%s): %s", phase, where, strings.Join(names, ", ")))
	}
	if len(lines) > 0 {
		lines = slices.Insert(lines, 0, "Hooks:")
	}
	var files []string
	for _, f := range tree.Files() {
		if !hooks[f.Path] {
			files = append(files, f.Path)
		}
	}
	if len(files) > 0 {
		lines = append(lines, "Files: "+strings.Join(files, ", "))
	}
	return lines
}

func showVariables(w io.Writer, variables []variable) {
	if len(variables) == 0 {
		return
	}
	fmt.Fprintln(w, "Variables:")
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, v := range variables {
		fmt.Fprintln(out, strings.TrimRight(fmt.Sprintf("  %s\t%s\t%s", v.name, v.standard, v.meaning), " \t"))
	}
	out.Flush() // into a bufio.Writer, which keeps the error
}

// drawDependencies draws even what is not whole, and then says what is missing.
func drawDependencies(w io.Writer, l elements.Library, names []string) error {
	trees, err := l.Needs(names...)
	out := bufio.NewWriter(w)
	for _, n := range trees {
		fmt.Fprintln(out, needText(n))
		drawNeeds(out, n.Needs, "")
	}
	return errors.Join(err, out.Flush())
}

func drawNeeds(w io.Writer, needs []elements.Need, before string) {
	for i, n := range needs {
		branch, below := "├── ", "│   "
		if i == len(needs)-1 {
			branch, below = "└── ", "    "
		}
		fmt.Fprintf(w, "%s%s%s\n", before, branch, needText(n))
		drawNeeds(w, n.Needs, before+below)
	}
}

func needText(n elements.Need) string {
	switch {
	case n.Provider != "":
		return fmt.Sprintf("%s: %s provides it", n.Name, n.Provider)
	case n.Missing != nil && len(n.Missing.Providers) > 0:
		return fmt.Sprintf("%s: name one of %s", n.Name, strings.Join(n.Missing.Providers, ", "))
	case n.Missing != nil:
		return n.Name + ": not found"
	case n.Seen:
		return n.Name + " (see above)"
	}
	return n.Name
}
