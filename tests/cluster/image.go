package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// image writes a directory as an image of one layer, in the format of `docker save`.
func image(args []string) error {
	flags := flag.NewFlagSet("cluster image", flag.ExitOnError)
	var references, entrypoint list
	out := flags.String("out", "", "the `file` to write")
	root := flags.String("root", "", "the `directory` whose files the image has")
	user := flags.String("user", "0", "the `user` of its process")
	flags.Var(&references, "reference", "a `name` of the image; may be repeated")
	flags.Var(&entrypoint, "entrypoint", "a `word` of the entrypoint; may be repeated")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *out == "" || *root == "" || len(references) == 0 {
		return errors.New("--out, --root and --reference are required")
	}
	var layer bytes.Buffer
	writer := tar.NewWriter(&layer)
	if err := writer.AddFS(os.DirFS(*root)); err != nil {
		return fmt.Errorf("%s: %w", *root, err)
	}
	if err := writer.Close(); err != nil {
		return err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config": map[string]any{
			"Entrypoint": entrypoint, "User": *user,
			"Env": []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + digest(layer.Bytes())}},
	})
	if err != nil {
		return err
	}
	configName, layerName := digest(config)+".json", filepath.Join(digest(layer.Bytes()), "layer.tar")
	manifest, err := json.Marshal([]map[string]any{{"Config": configName, "RepoTags": references, "Layers": []string{layerName}}})
	if err != nil {
		return err
	}
	var archive bytes.Buffer
	writer = tar.NewWriter(&archive)
	for _, file := range []struct {
		name string
		data []byte
	}{{configName, config}, {layerName, layer.Bytes()}, {"manifest.json", manifest}} {
		if err := writer.WriteHeader(&tar.Header{Name: file.name, Mode: 0o644, Size: int64(len(file.data))}); err != nil {
			return err
		}
		if _, err := writer.Write(file.data); err != nil {
			return err
		}
	}
	if err := writer.Close(); err != nil {
		return err
	}
	return os.WriteFile(*out, archive.Bytes(), 0o644)
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// reference reads the first name of the image in an archive.
func reference(archive string) (string, error) {
	file, err := os.Open(archive)
	if err != nil {
		return "", err
	}
	defer file.Close()
	for reader := tar.NewReader(file); ; {
		header, err := reader.Next()
		if err != nil {
			return "", fmt.Errorf("%s: no manifest.json: %w", archive, err)
		}
		if header.Name != "manifest.json" {
			continue
		}
		var images []struct{ RepoTags []string }
		if err := json.NewDecoder(reader).Decode(&images); err != nil {
			return "", fmt.Errorf("%s: manifest.json: %w", archive, err)
		}
		if len(images) == 0 || len(images[0].RepoTags) == 0 {
			return "", fmt.Errorf("%s: its image has no name", archive)
		}
		return images[0].RepoTags[0], nil
	}
}
