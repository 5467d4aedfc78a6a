/** Torrents do not work here, or the relay's metainfo does not fit the model: other ways must be used. In a file of its own, so that catching it loads no torrents. */
export class TorrentError extends Error {
  override name = 'TorrentError'
}
