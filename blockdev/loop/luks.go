package loop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/luks"
)

// encrypted is a LUKS volume, made and opened by cryptsetup. Its header holds no
// name of a mapping, so nothing is to be changed at the end.
type encrypted struct {
	disk *disk
	plan *blockdev.VolumePlan
	name string
}

func (e *encrypted) make(ctx context.Context) error {
	d := e.disk
	if d.o.Secrets == nil {
		return errors.New("no passphrase is at hand")
	}
	passphrase, seed, err := d.o.Secrets(e.plan.Node)
	if err != nil {
		return err
	}
	defer clear(passphrase)
	defer clear(seed)
	if seed != nil {
		return errSeed(e.plan.Node)
	}
	base := d.bases(e.plan)[0]
	secret := func() call { return call{stdin: bytes.NewReader(passphrase)} }
	args, err := formatArgs(e.plan.Encryption())
	if err != nil {
		return err
	}
	if _, err := d.volumeTool(ctx, secret(), "cryptsetup", append(args, base)...); err != nil {
		return err
	}
	if err := d.journal.note("mapping", e.name); err != nil {
		return err
	}
	// Trimming makes the image sparse again. It is allowed here, and not in the header.
	_, err = d.volumeTool(ctx, secret(), "cryptsetup", "open", "--type", "luks", "--key-file=-", "--allow-discards", base, e.name)
	if err != nil {
		return err
	}
	return d.open(e.plan.Node, filepath.Join("/dev/mapper", e.name), e.plan.Size)
}

func errSeed(node string) error {
	return fmt.Errorf("encrypted volume %q: a seed is given, and cryptsetup takes its keys from chance; leave the seed out, or take --backend file, which derives them from it", node)
}

// formatArgs are cryptsetup's for a volume as package luks writes it. Costs are
// stated and never measured: the machine that opens the volume is another.
func formatArgs(o luks.Options) ([]string, error) {
	o, err := o.Complete()
	if err != nil {
		return nil, err
	}
	args := []string{
		"luksFormat", "--batch-mode", "--key-file=-", "--type", "luks" + strconv.Itoa(o.Version), "--uuid", o.UUID,
		"--cipher", o.Cipher, "--key-size", strconv.Itoa(o.KeySize), "--hash", o.Hash,
		"--offset", strconv.FormatInt(luks.Overhead(o)/512, 10), "--pbkdf-force-iterations", strconv.Itoa(o.PBKDF.Iterations),
	}
	if o.Version == 1 {
		return args, nil
	}
	args = append(args, "--label", o.Label, "--sector-size", strconv.Itoa(o.SectorSize), "--pbkdf", o.PBKDF.Kind)
	if o.PBKDF.Kind != luks.PBKDF2 {
		args = append(args, "--pbkdf-memory", strconv.Itoa(o.PBKDF.Memory), "--pbkdf-parallel", strconv.Itoa(o.PBKDF.Threads))
	}
	return args, nil
}

func (e *encrypted) finish() error {
	if err := e.disk.closeVolume(e.plan.Node); err != nil {
		return err
	}
	_, err := e.disk.volumeTool(context.Background(), call{}, "cryptsetup", "close", e.name)
	return err
}

func (e *encrypted) drop() error {
	s := sweep{lock: e.disk.journal.file, mappings: []string{e.name}}
	return errors.Join(e.disk.forget(e.plan.Node), s.run(context.Background()))
}
