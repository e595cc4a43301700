import { describe, expect, it } from 'vitest';
import type { WireProtocol } from '../load/load-plan.ts';
import { parseTargetUrl, targetUrl } from './parse-target-url.ts';

const parse = (url: string, protocol: WireProtocol = 'http-binary') => parseTargetUrl({ url, protocol, headers: {}, tls: null });

describe('parseTargetUrl', () => {
  it.each([
    ['', 'http-binary', 'http://127.0.0.1:8000'],
    ['', 'grpc-stream', 'grpc://127.0.0.1:8001'],
    ['gpu-box', 'http-json', 'http://gpu-box:8000'],
    ['gpu-box', 'grpc', 'grpc://gpu-box:8001'],
    ['gpu-box:9', 'grpc', 'grpc://gpu-box:9'],
    ['http://gpu-box:80/', 'http-json', 'http://gpu-box:80'],
    ['http://gpu-box', 'http-json', 'http://gpu-box:80'],
    ['http://gpu-box:8001', 'grpc', 'grpc://gpu-box:8001'],
    ['https://models.example.com/gate/way/', 'http-json', 'https://models.example.com:443/gate/way'],
    ['grpcs://models.example.com', 'grpc', 'grpcs://models.example.com:8001'],
    ['wss://models.example.com', 'websocket-json', 'wss://models.example.com:443'],
    ['[::1]:8000', 'http-json', 'http://[::1]:8000'],
    ['http://127.0.0.1:8000/v1', 'openai', 'http://127.0.0.1:8000'],
    ['http://127.0.0.1:8000/llm/v1/', 'openai', 'http://127.0.0.1:8000/llm'],
    ['http://127.0.0.1:8000/v1', 'http-json', 'http://127.0.0.1:8000/v1'],
  ] as const)('%s for %s', (url, protocol, expected) => {
    expect(targetUrl(parse(url, protocol), protocol)).toBe(expected);
  });

  it('has the address of an IPv6 host without brackets', () => {
    expect(parse('http://[::1]:8000').host).toBe('::1');
  });

  it.each([
    ['htp://x', 'http-binary', "did you mean 'http'?"],
    ['grpc://x', 'http-binary', '--protocol grpc or grpc-stream, got --protocol http-binary'],
    ['ws://x', 'grpc', '--protocol websocket-binary or websocket-json'],
    ['::1', 'http-binary', 'brackets'],
    ['x:99999', 'http-binary', 'host:port'],
    ['http://me:secret@x', 'http-binary', '--header authorization'],
    ['http://x/?a=1', 'http-binary', 'without ?'],
  ] as const)('%s for %s is refused', (url, protocol, hint) => {
    expect(() => parse(url, protocol)).toThrow(hint);
  });

  it('refuses certificates in the clear', () => {
    const tls = { ca: '', cert: '', key: '', verify: false };
    expect(() => parseTargetUrl({ url: 'http://x', protocol: 'http-json', headers: {}, tls })).toThrow('https');
    expect(parseTargetUrl({ url: 'https://x', protocol: 'http-json', headers: {}, tls }).tls).toEqual(tls);
  });
});
