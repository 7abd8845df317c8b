// Mercure's own library with its transport in memory: anybody may read and publish. Its argument is the port.
package main

import (
	"context"
	"io"
	"log"
	"log/slog"
	"net/http"
	"os"

	"github.com/dunglas/mercure"
)

func main() {
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	hub, err := mercure.NewHub(context.Background(), mercure.WithAnonymous(), mercure.WithLogger(quiet))
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("/stream", hub.SubscribeHandler)
	http.HandleFunc("/publish", hub.PublishHandler)
	http.HandleFunc("/ready", func(http.ResponseWriter, *http.Request) {})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}
