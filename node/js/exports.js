exports.TcpClientWrapper = TcpClientWrapper;
exports.QWormholeServerWrapper = QWormholeServerWrapper;
exports.engine = engine;
