package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// outputRecords remembers what was made, so that an output which is still there
// is not made again. Dir is a folder of the store.
type outputRecords struct{ Dir string }

// outputRecord is what is kept of one output. The key is the caller's: a digest
// over everything that the file depends on.
type outputRecord struct {
	Path  string `json:"path"` // absolute
	Key   string `json:"key"`
	Size  int64  `json:"size"`  // bytes
	Mtime int64  `json:"mtime"` // nanoseconds since 1970
}

// Current says whether path holds what was made with the same key and has not
// been touched since.
func (r outputRecords) Current(path, key string) bool {
	file, abs, err := r.file(path)
	if err != nil {
		return false
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return false
	}
	var old outputRecord
	if json.Unmarshal(text, &old) != nil || old.Path != abs || old.Key != key {
		return false
	}
	now, err := recordOf(abs, key)
	return err == nil && now == old
}

// Save notes that path was made with the key.
func (r outputRecords) Save(path, key string) error {
	file, abs, err := r.file(path)
	if err != nil {
		return err
	}
	record, err := recordOf(abs, key)
	if err != nil {
		return fmt.Errorf("recording %q: %w", path, err)
	}
	text, err := json.Marshal(record)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(r.Dir, 0o700); err != nil {
		return err
	}
	return writeRenamed(file, string(text)+"\n")
}

// Forget drops the record of path. That it has none is no error.
func (r outputRecords) Forget(path string) error {
	file, _, err := r.file(path)
	if err != nil {
		return err
	}
	if err := os.Remove(file); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

// file is where the record of path lies, and path made absolute.
func (r outputRecords) file(path string) (file, abs string, err error) {
	if abs, err = filepath.Abs(path); err != nil {
		return "", "", err
	}
	sum := sha256.Sum256([]byte(abs))
	return filepath.Join(r.Dir, hex.EncodeToString(sum[:])+".json"), abs, nil
}

func recordOf(abs, key string) (outputRecord, error) {
	info, err := os.Stat(abs)
	if err != nil {
		return outputRecord{}, err
	}
	return outputRecord{Path: abs, Key: key, Size: info.Size(), Mtime: info.ModTime().UnixNano()}, nil
}
