package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/goccy/go-yaml"
)

// svcMapMain is svc-map NAME...: it prints the name that each service has on
// this distribution: itself when the image has a service of that name, else
// what elements' svc-map files say, else itself.
func svcMapMain(_ context.Context, args, _ []string, _ io.Reader, stdout, stderr io.Writer) int {
	const name = "svc-map"
	flags := flagsFor(name, "NAME...", stdout)
	if err := flags.Parse(args); err != nil {
		return finish(stderr, name, err)
	}
	names, err := readServices()
	if err != nil {
		return finish(stderr, name, err)
	}
	for _, service := range flags.Args() {
		if mapped, ok := names[service]; ok && !serviceExists(service) {
			service = mapped
		}
		if _, err := fmt.Fprintln(stdout, service); err != nil {
			return finish(stderr, name, fmt.Errorf("printing: %w", err))
		}
	}
	return 0
}

// readServices reads the first service map there is: name to name, resolved for
// this distribution, as YAML or JSON. No map is an empty one.
func readServices() (map[string]string, error) {
	for _, file := range svcMapFiles {
		data, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading the service map: %w", err)
		}
		var names map[string]string
		if err := yaml.Unmarshal(data, &names); err != nil {
			return nil, fmt.Errorf("reading the service map %q: %w", file, err)
		}
		return names, nil
	}
	return nil, nil
}

func serviceExists(name string) bool {
	for _, file := range []string{"/lib/systemd/system/" + name + ".service", "/etc/init/" + name + ".conf"} {
		if _, err := os.Stat(file); err == nil {
			return true
		}
	}
	return false
}
