package main

import (
	"context"
	"crypto/ed25519"
	"fmt"

	"github.com/lithify/lithify/oci"
)

// TravelOptions say through which registries steps go from and to other
// machines.
type TravelOptions struct {
	From      []string // repositories, HOST/NAME
	To        string   // repository
	SignKey   string   // path
	VerifyKey string   // path
}

func (t TravelOptions) any() bool { return len(t.From) > 0 || t.To != "" }

func setCacheFrom(o *Options, where, v string) error {
	repos := splitList(v)
	for _, r := range repos {
		if err := checkRepository(where, r); err != nil {
			return err
		}
	}
	o.Travel.From = repos
	return nil
}

func setCacheTo(o *Options, where, v string) error {
	o.Travel.To = v
	if v == "" { // in the environment: none
		return nil
	}
	return checkRepository(where, v)
}

func checkRepository(where, v string) error {
	if _, err := oci.OpenRepository(v, ""); err != nil {
		return usagef("%s: %w", where, err)
	}
	return nil
}

func setCacheSignKey(o *Options, _, v string) error {
	o.Travel.SignKey = v
	return nil
}

func setCacheVerifyKey(o *Options, _, v string) error {
	o.Travel.VerifyKey = v
	return nil
}

// open reads keys and repositories; mistakes are the user's.
func (t TravelOptions) open(authFile string) (c oci.CacheOptions, err error) {
	for _, text := range t.From {
		repo, err := oci.OpenRepository(text, authFile)
		if err != nil {
			return c, usagef("--cache-from: %w", err)
		}
		c.From = append(c.From, repo)
	}
	if t.To != "" {
		if c.To, err = oci.OpenRepository(t.To, authFile); err != nil {
			return c, usagef("--cache-to: %w", err)
		}
	}
	if c.Sign, err = signKey(t.SignKey); err == nil {
		c.Verify, err = verifyKey(t.VerifyKey)
	}
	return c, err
}

func signKey(path string) (ed25519.PrivateKey, error) {
	if path == "" {
		return nil, nil
	}
	key, err := oci.ReadSignKey(path)
	if err != nil {
		return nil, usagef("--cache-sign-key: %w; openssl genpkey -algorithm ed25519 makes one", err)
	}
	return key, nil
}

func verifyKey(path string) (ed25519.PublicKey, error) {
	if path == "" {
		return nil, nil
	}
	key, err := oci.ReadVerifyKey(path)
	if err != nil {
		return nil, usagef("--cache-verify-key: %w; openssl pkey -pubout makes one of the private key", err)
	}
	return key, nil
}

// checkTravel finds mistakes before anything is built.
func (j *job) checkTravel() error {
	t := j.o.Travel
	if t.SignKey != "" && t.To == "" {
		return usagef("--cache-sign-key: nothing is sent without --cache-to")
	}
	if t.VerifyKey != "" && len(t.From) == 0 {
		return usagef("--cache-verify-key: nothing is taken without --cache-from")
	}
	_, err := t.open(j.o.Environment["REGISTRY_AUTH_FILE"])
	return err
}

// openCache ties the store to the registries.
func (j *job) openCache(ctx context.Context) error {
	t := j.o.Travel
	if !t.any() {
		return nil
	}
	if j.o.NoLayers {
		j.ui.Warn("--no-layers keeps and reuses no step: --cache-from and --cache-to do nothing")
		return nil
	}
	c, err := t.open(j.o.Environment["REGISTRY_AUTH_FILE"])
	if err != nil {
		return err
	}
	for _, repo := range c.From {
		if c.Verify == nil && !repo.Local() {
			j.ui.Warn(fmt.Sprintf("steps from %s are taken unsigned: whoever may write there decides what is in the image; --cache-verify-key wants a signature", repo.Name()))
		}
	}
	c.Warn = j.ui.Warn
	if j.cache, err = j.store.NewCache(ctx, c); err != nil {
		return err
	}
	j.undo = append(j.undo, func() error {
		if ctx.Err() == nil { // what a failed build made may be sent
			j.cache.Finish()
		}
		return j.cache.Close()
	})
	return nil
}

// finishTravel waits until all is sent.
func (j *job) finishTravel() {
	if j.cache == nil {
		return
	}
	r := j.cache.Finish()
	if r.Pulled > 0 || r.Pushed > 0 {
		j.ui.Logger().Info("steps travelled", "pulled", r.Pulled, "pulled-size", sizeText(r.PulledBytes), "pushed", r.Pushed, "pushed-size", sizeText(r.PushedBytes))
	}
}
