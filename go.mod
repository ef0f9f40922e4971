module kagami

go 1.26
