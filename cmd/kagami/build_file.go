package main

import (
	"errors"
	"fmt"
	"slices"

	"kagami/output"
)

// newFile opens a recording to write.
func (m *mirror) newFile(cfg OutputConfig) (output.Output, error) {
	var out output.Output
	err := m.rights.as(func() (err error) {
		out, err = output.NewFile(fileConfig(m.cfg.Role, &cfg))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("--output-file %w", err)
	}
	return out, nil
}

func fileConfig(role Role, cfg *OutputConfig) output.FileConfig {
	return output.FileConfig{
		Path:          cfg.Address,
		Append:        cfg.File.Append,
		Compress:      cfg.File.Compress == compressZstd,
		FlushInterval: cfg.File.FlushInterval,
		Sync:          fileSync(cfg.File.Sync),
		SizeLimit:     cfg.File.SizeLimit,
		QueueLimit:    cfg.File.QueueLimit,
		TimeLimit:     cfg.File.TimeLimit,
		KeepFiles:     cfg.File.KeepFiles,
		KeepSize:      cfg.File.KeepSize,
		MaxSize:       cfg.File.MaxSize,
		MinFree:       cfg.File.MinFree,
		GorNames:      role == RoleGor,
	}
}

func fileSync(s FileSync) output.SyncPolicy {
	switch s {
	case FileSyncClose:
		return output.SyncClose
	case FileSyncFlush:
		return output.SyncFlush
	}
	return output.SyncNever
}

// broke says what became of an output that takes nothing more, and ends the inputs
// when there is none left that does.
func (m *mirror) broke(line *outputLine, err error) {
	if errors.Is(err, output.ErrMaxSize) {
		m.log.Info("a recording is complete", "output", line.name, "because", err)
	} else {
		m.log.Error("an output broke, and gets nothing more", "output", line.name, "error", err)
	}
	line.broken.Store(true)
	if !slices.ContainsFunc(m.lines(), func(o *outputLine) bool { return !o.broken.Load() }) {
		m.giveUp()
	}
}
