// Package replay is where recorded or streamed messages come from, and says
// when they are to be sent.
//
// A [Files] reads recordings, several as one, and hands their messages on with
// the time at which each is due; a [Pacer] is the rule for that: [Speed], [Rate]
// or [Ramp]. A [Server] receives the streams of listeners. Both rebuild which answer belongs to which
// request with an [Exchanges], and hand on batches of messages to a function:
//
//	files, err := replay.NewFiles(replay.FilesConfig{Patterns: []string{"traffic*.gor"}, Speed: 2})
//	if err != nil {
//		return err
//	}
//	return files.Run(ctx, func(ctx context.Context, b kagami.Batch) error {
//		return queue.Write(ctx, b)
//	})
//
// [OpenFile] reads one recording message by message, without any timing.
//
// The package does not send anything: package output does, and waits until
// messages are due. It neither logs nor exits, and reads no environment; its
// clock can be replaced.
package replay
