// Command serve offers the files of a folder over HTTP, with ranges: where the pods of a test fetch a model's weights from.
package main

import (
	"flag"
	"log"
	"net/http"
	"time"
)

func main() {
	address := flag.String("listen", ":8080", "where to listen")
	folder := flag.String("folder", "/files", "the folder whose files are offered")
	flag.Parse()
	server := &http.Server{
		Addr:              *address,
		Handler:           http.FileServer(http.Dir(*folder)),
		ReadHeaderTimeout: 10 * time.Second,
	}
	log.Fatal(server.ListenAndServe())
}
