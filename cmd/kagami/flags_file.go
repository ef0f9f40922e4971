package main

import "time"

func fileOutputOptions() []option {
	file := func(key, also, arg, help string, bind func(c *FileOutputConfig) value) option {
		return option{flag: "output-file-" + key, also: also, key: key, arg: arg, help: help, group: groupWriting, scope: scopeOutput, kind: "file",
			bind: func(t *subject) value { return bind(&t.output.File) }}
	}
	return []option{
		file("append", "", "", "add to a file that exists; without it that is an error", func(c *FileOutputConfig) value { return boolValue{&c.Append} }),
		file("compress", "", "HOW", "the batches of .kgm: none or zstd", func(c *FileOutputConfig) value { return compressValue(&c.Compress) }),
		file("flush-interval", "", "TIME", "how old a record may get before it is in the file", func(c *FileOutputConfig) value { return durationValue{&c.FlushInterval, time.Millisecond} }),
		file("sync", "", "WHEN", "when what is in the file is on the disk too (fsync): never waits for the kernel, close is at the end of each file, flush at each flush",
			func(c *FileOutputConfig) value {
				return enumValue[FileSync]{&c.Sync, []FileSync{FileSyncNever, FileSyncClose, FileSyncFlush}}
			}),
		file("size-limit", "", "SIZE", "begin a new numbered file at this size, before compression; 0 is never", func(c *FileOutputConfig) value { return sizeValue{&c.SizeLimit, 0} }),
		file("queue-limit", "", "NUMBER", "begin a new numbered file after so many records; 0 is never", func(c *FileOutputConfig) value { return intValue{&c.QueueLimit, 0} }),
		file("time-limit", "", "TIME", "begin a new numbered file after so long; 0 is never", func(c *FileOutputConfig) value { return durationValue{&c.TimeLimit, 0} }),
		file("keep-files", "", "NUMBER", "delete the oldest files of the recording beyond so many; 0 keeps all", func(c *FileOutputConfig) value { return intValue{&c.KeepFiles, 0} }),
		file("keep-size", "", "SIZE", "delete its oldest files beyond this size together, on the disk; 0 keeps all", func(c *FileOutputConfig) value { return sizeValue{&c.KeepSize, 0} }),
		file("max-size-limit", "max-size", "SIZE", "end the recording when it has written this much to the disk; 0 is never", func(c *FileOutputConfig) value { return sizeValue{&c.MaxSize, 0} }),
		file("min-free-disk", "min-free-disk", "SIZE", "end the recording, as an error, before less than this is free on its disk; 0 does not look", func(c *FileOutputConfig) value { return sizeValue{&c.MinFree, 0} }),
	}
}
