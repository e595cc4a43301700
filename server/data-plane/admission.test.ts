import { describe, expect, it } from 'vitest';
import { Admission } from './admission.ts';

const unavailable = expect.objectContaining({ code: 'UNAVAILABLE' });

describe('Admission', () => {
  it('refuses the request past the bound and takes it after a release', () => {
    const admission = new Admission(2, 1000);
    admission.admit(1);
    admission.admit(1);
    expect(() => admission.admit(1)).toThrow(unavailable);
    admission.release(1);
    admission.admit(1);
    expect(admission.requestsInFlight).toBe(2);
  });

  it('bounds the bytes of all requests, but always lets one in', () => {
    const admission = new Admission(10, 1000);
    admission.admit(5000);
    expect(() => admission.admit(1)).toThrow(unavailable);
    admission.release(5000);
    admission.admit(600);
    expect(() => admission.admit(401)).toThrow(unavailable);
    admission.admit(400);
  });

  it('admits nothing while draining', () => {
    const admission = new Admission(10, 1000);
    admission.drain();
    expect(() => admission.admit(1)).toThrow(unavailable);
  });
});
