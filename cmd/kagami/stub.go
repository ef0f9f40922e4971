package main

import (
	"context"
	"errors"
)

func runMirror(ctx context.Context, cfg Config) error { return errors.New("not there yet") }

func runCat(ctx context.Context, cfg CatConfig) error { return errors.New("not there yet") }

func runDemo(ctx context.Context, cfg DemoConfig) error { return errors.New("not there yet") }
