package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/lithify/lithify/elements"
	"github.com/spf13/pflag"
)

// elementInfoMain is element-info [-e|--env] ELEMENT...: the elements that a
// build of ELEMENT... consists of, as names on one line or as shell text to be
// evaluated.
func elementInfoMain(_ context.Context, args, env []string, _ io.Reader, stdout, stderr io.Writer) int {
	const name = "element-info"
	flags := flagsFor(name, "[-e|--env] ELEMENT...", stdout)
	asShell := flags.BoolP("env", "e", false, "print shell text that sets IMAGE_ELEMENT, IMAGE_ELEMENT_YAML and get_image_element_array")
	if err := flags.Parse(args); err != nil {
		return finish(stderr, name, usageCode(err))
	}
	if flags.NArg() == 0 {
		return finish(stderr, name, codeError{exitUsage, errors.New("name at least one element")})
	}
	els, err := chosenElements(getenv(env, "ELEMENTS_PATH"), flags.Args(), stderr)
	if err != nil {
		return finish(stderr, name, err)
	}
	if *asShell {
		err = writeElementEnv(stdout, els)
	} else {
		_, err = fmt.Fprintln(stdout, strings.Join(elementNames(els), " "))
	}
	return finish(stderr, name, err)
}

// usageCode makes an error of the command line exit as such; asking for help is
// none.
func usageCode(err error) error {
	if errors.Is(err, pflag.ErrHelp) {
		return err
	}
	return codeError{exitUsage, err}
}

// chosenElements resolves names and warns of elements that hide others.
func chosenElements(path string, names []string, stderr io.Writer) ([]elements.Element, error) {
	if path == "" {
		return nil, errors.New("ELEMENTS_PATH must be set; the built-in elements come after what it names")
	}
	library, err := elements.Open(path)
	if err != nil {
		return nil, err
	}
	els, err := library.Resolve(names...)
	if err != nil {
		return nil, err
	}
	for _, e := range els {
		for _, loser := range library.Shadowed(e.Name) {
			fmt.Fprintf(stderr, "element-info: warning: element '%s': %s is used, not %s\n", e.Name, e.Path, loser)
		}
	}
	return els, nil
}

func elementNames(els []elements.Element) []string {
	var names []string
	for _, e := range els {
		names = append(names, e.Name)
	}
	return names
}

func writeElementEnv(w io.Writer, els []elements.Element) error {
	var pairs []string
	for _, e := range els {
		pairs = append(pairs, "["+shellWord(e.Name)+"]="+shellWord(e.Path))
	}
	// The array's text is evaluated once more by who asks for it, as is usual:
	// eval declare -A a=($(get_image_element_array)).
	_, err := fmt.Fprintf(w, "export IMAGE_ELEMENT=%s\nexport IMAGE_ELEMENT_YAML=%s\nfunction get_image_element_array {\n    printf '%%s ' %s\n}\nexport -f get_image_element_array\n",
		shellWord(strings.Join(elementNames(els), " ")), shellWord(elementPaths(els)), shellWords(pairs))
	return err
}

func shellWords(words []string) string {
	var quoted []string
	for _, w := range words {
		quoted = append(quoted, shellWord(w))
	}
	return strings.Join(quoted, " ")
}
